/*
 * files.h - directories and small JSON state files, written whole or not at all.
 */
#ifndef COPYHOLD_CTL_FILES_H
#define COPYHOLD_CTL_FILES_H

#include "common/base/base.h"
#include <jansson.h>

/* printf to a new string. */
char *files_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Makes a directory and its parents; 0 also if it is there. Negative errno. */
int files_make_directory(const char *path);
/* Replaces a file by the document: readers see the old one or the new one. Negative errno. */
int files_write_json(const char *path, const json_t *document);
/* NULL if there is none or it is no JSON object; the caller owns the result. */
json_t *files_read_json(const char *path);
/* Takes a lock on a file, made if missing; waits. The descriptor, to be closed, or a negative errno. */
int files_lock(const char *path);
/* Removes a directory and the files right in it; what isn't there is fine. */
void files_remove_directory(const char *path);
/* ${XDG_STATE_HOME:-~/.local/state}/copyhold/NAME. Allocated; NULL without a home. */
char *files_state_path(const char *name);

#endif
