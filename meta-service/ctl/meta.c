/* meta.c - copyhold meta confirm. */
#include "meta-service/ctl/client.h"

#include <stdio.h>

enum exit_code meta_confirm(const struct invocation *in)
{
	json_t *answer;
	enum exit_code code;

	code = client_request_or_print(in, "meta.confirm",
				       json_pack("{s:b}", "force", option_is_set(in, "force")),
				       &answer);
	if (!answer)
		return code;
	printf("the store of this meta service is the truth from now on; look at copyhold "
	       "status\n");
	json_decref(answer);
	return EXIT_CODE_OK;
}
