/* JSON for others to read, by Jansson. */
#ifndef NINC_JSON_H
#define NINC_JSON_H

#include <jansson.h>

/* ---- json.c ---- */

/* A number; null where it is not finite. */
json_t *json_finite(double value);
/* A text; bytes that are no UTF-8, as file names may hold, become '?'. */
json_t *json_name(const char *text);
/* Whether json_save can write to `path` at all; NULL: nothing will be written. */
int json_check(const char *path);
/* Writes `value`, and gives it up, to a file that appears whole or not at all, or to standard
 * output where `path` is "-". 0, or -1 after an error line. */
int json_save(const char *path, json_t *value);

#endif
