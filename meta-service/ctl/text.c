/* text.c - see text.h. */
#include "meta-service/ctl/text.h"
#include "meta-service/ctl/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char units[] = "KMGTPE";

int text_parse_number(const char *text, uint64_t *number)
{
	char *end;

	if (!*text || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno ? -EINVAL : 0;
}

/* The suffix: "", "B", "K", "KB", "KiB", ... in either case. The power of two, or -EINVAL. */
static int parse_unit(const char *suffix)
{
	const char *unit;

	if (!*suffix || strcasecmp(suffix, "b") == 0)
		return 0;
	unit = strchr(units, *suffix >= 'a' ? *suffix - ('a' - 'A') : *suffix);
	if (!unit ||
	    (suffix[1] && strcasecmp(suffix + 1, "b") != 0 && strcasecmp(suffix + 1, "ib") != 0))
		return -EINVAL;
	return 10 * (int)(unit - units + 1);
}

int text_parse_size(const char *text, uint64_t *bytes)
{
	__extension__ typedef unsigned __int128 wide;
	size_t digits = strspn(text, "0123456789"), decimals = 0;
	wide value = 0, fraction = 0, scale = 1;
	const char *suffix = text + digits;
	int shift;

	if (*suffix == '.') {
		decimals = strspn(suffix + 1, "0123456789");
		if (decimals == 0 || decimals > 9)
			return -EINVAL;
		suffix += 1 + decimals;
	}
	shift = parse_unit(suffix);
	if (digits == 0 || shift < 0)
		return -EINVAL;
	if (digits > 20)
		return -ERANGE;
	for (size_t i = 0; i < digits; i++)
		value = value * 10 + (unsigned)(text[i] - '0');
	for (size_t i = 0; i < decimals; i++) {
		fraction = fraction * 10 + (unsigned)(text[digits + 1 + i] - '0');
		scale *= 10;
	}
	value = (value << shift) + (fraction << shift) / scale;
	if (value >> 63)
		return -ERANGE;
	*bytes = (uint64_t)value;
	return 0;
}

const char *text_size(uint64_t bytes, char out[TEXT_SIZE_BYTES])
{
	double value = (double)bytes;
	unsigned tenths;
	int unit = -1;

	while (value >= 999.5 && unit < (int)strlen(units) - 1) {
		value /= 1024;
		unit++;
	}
	tenths = (unsigned)(value * 10 + 0.5);
	if (unit < 0)
		snprintf(out, TEXT_SIZE_BYTES, bytes ? "%.0f B" : "%.0f", value);
	else if (tenths < 1000 && tenths % 10)
		snprintf(out, TEXT_SIZE_BYTES, "%u.%u %ciB", tenths / 10, tenths % 10, units[unit]);
	else
		snprintf(out, TEXT_SIZE_BYTES, "%.0f %ciB", value, units[unit]);
	return out;
}

const char *text_duration(uint64_t ms, char out[TEXT_SIZE_BYTES])
{
	uint64_t s = ms / 1000;

	if (s < 120)
		snprintf(out, TEXT_SIZE_BYTES, "%d s", (int)s);
	else if (s < 7200)
		snprintf(out, TEXT_SIZE_BYTES, "%d min", (int)(s / 60));
	else if (s < 172800)
		snprintf(out, TEXT_SIZE_BYTES, "%d h", (int)(s / 3600));
	else
		snprintf(out, TEXT_SIZE_BYTES, "%llu d", (unsigned long long)(s / 86400));
	return out;
}

#define COLUMNS_MAX 16

struct table {
	unsigned columns;
	bool right[COLUMNS_MAX];
	size_t width[COLUMNS_MAX];
	char **cells;
	enum paint *paints;
	size_t count;
};

static void add(struct table *table, char *text, enum paint paint)
{
	unsigned column = (unsigned)(table->count % table->columns);

	if (table->count % 64 == 0) {
		table->cells = xrealloc(table->cells, (table->count + 64) * sizeof *table->cells);
		table->paints =
			xrealloc(table->paints, (table->count + 64) * sizeof *table->paints);
	}
	table->cells[table->count] = text;
	table->paints[table->count] = paint;
	table->count++;
	table->width[column] = MAX(table->width[column], strlen(text));
}

struct table *table_new(const char *headings)
{
	struct table *table = xcalloc(1, sizeof *table);
	char *copy = xstrdup(headings), *at = copy, *heading;

	for (const char *c = headings; *c; c++)
		table->columns += *c == '|';
	table->columns++;
	assert(table->columns <= COLUMNS_MAX);
	for (unsigned i = 0; (heading = strsep(&at, "|")); i++) {
		table->right[i] = *heading == '>';
		add(table, xstrdup(heading + table->right[i]), PAINT_BOLD);
	}
	free(copy);
	return table;
}

void table_cell(struct table *table, const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		abort();
	va_end(ap);
	add(table, text, PAINT_OFF);
}

void table_state(struct table *table, const char *state)
{
	add(table, xstrdup(state), paint_of_state(state));
}

void table_print(struct table *table)
{
	assert(table->count % table->columns == 0);
	for (size_t i = 0; i < table->count; i++) {
		unsigned column = (unsigned)(i % table->columns);
		bool last = column + 1 == table->columns;
		int pad = (int)(table->width[column] - strlen(table->cells[i]));
		bool plain = table->paints[i] == PAINT_OFF;

		printf("%*s%s%s%s%*s%s", table->right[column] ? pad : 0, "",
		       plain ? "" : paint(table->paints[i]), table->cells[i],
		       plain ? "" : paint(PAINT_OFF), table->right[column] || last ? 0 : pad, "",
		       last ? "\n" : "  ");
		free(table->cells[i]);
	}
	free(table->cells);
	free(table->paints);
	free(table);
}
