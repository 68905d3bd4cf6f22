/* conf_text: the lines of an INI file and the nearest known word, for common/conf alone. */
#ifndef PIPIT_COMMON_CONF_TEXT_H
#define PIPIT_COMMON_CONF_TEXT_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>

#define CONF_FILE_BYTES_MAX (1024u * 1024u)
#define CONF_WORD_BYTES_MAX 64u /* of a section's or key's name that suggestions look at */

/* Reads a whole file of at most bytes_max as a NUL-terminated text from mem_alloc (free with
 * mem_free). ERR_TOO_LARGE, ERR_NO_MEMORY, ERR_INVALID (it contains a NUL byte), or as
 * err_from_errno. May block. */
enum err conf_text_read(const char *file, size_t bytes_max, char **out) MUST_CHECK;

enum conf_line { CONF_LINE_EMPTY, CONF_LINE_SECTION, CONF_LINE_PAIR, CONF_LINE_BROKEN };
/* Understands one line in place (it is cut into pieces). SECTION: *name; PAIR: *name and *value,
 * both trimmed. '#' and ';' begin a comment at the start of a line or behind white space. */
enum conf_line conf_text_line(char *line, char **name, char **value);

/* Number of insertions, deletions, changes and swaps of neighbours that turn one word into the
 * other. Only the first CONF_WORD_BYTES_MAX bytes of each count. */
size_t conf_text_distance(const char *left, const char *right);
/* True when the distance is small enough, for the word's length, to be a slip of the finger. */
bool conf_text_near(const char *word, size_t distance);

#endif
