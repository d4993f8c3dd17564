/*
 * text.h - sizes and times as people write and read them, and tables whose columns are aligned.
 */
#ifndef COPYHOLD_CTL_TEXT_H
#define COPYHOLD_CTL_TEXT_H

#include "common/base/base.h"
#include <errno.h>

#define TEXT_SIZE_BYTES 24

/* A decimal number without sign; -EINVAL. */
int text_parse_number(const char *text, uint64_t *number);
/*
 * "4096", "512M", "10G", "10GiB", "1.5T": binary multiples. -EINVAL: no size; -ERANGE: not below 8 EiB (2^63 bytes), which
 * neither a block device nor a JSON integer can be.
 */
int text_parse_size(const char *text, uint64_t *bytes);
/* "0", "512 B", "4 KiB", "1.5 GiB": at most three digits and one decimal. */
const char *text_size(uint64_t bytes, char out[TEXT_SIZE_BYTES]);
/* "5 s", "3 min", "2 h", "4 d". */
const char *text_duration(uint64_t ms, char out[TEXT_SIZE_BYTES]);

/* A table in memory: rows of cells, a first row of headings. Cells are copied. */
struct table;
/* headings: separated by '|'; a '>' in front aligns the column to the right. */
struct table *table_new(const char *headings);
/* One cell, in reading order; printf-style. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A cell in the colour of a state word. */
void table_state(struct table *table, const char *state);
/* Prints and frees it. Every row must be full (asserted). */
void table_print(struct table *table);

#endif
