/* json_text: steps over JSON text that json_parse.c and json_reader.c share. Not for other files.
 */
#ifndef PIPIT_PROTO_JSON_TEXT_H
#define PIPIT_PROTO_JSON_TEXT_H

#include "proto/json_reader.h"

/* First byte in [at, end) that is a quote, a backslash, a control or not ASCII; else end. */
const uint8_t *json_text_plain(const uint8_t *at, const uint8_t *end);
/* First quote or backslash in [at, end); else end. */
const uint8_t *json_text_delimiter(const uint8_t *at, const uint8_t *end);
/* Does checked text (between the quotes) contain an escaped U+0000? */
bool json_text_has_nul(const uint8_t *raw, size_t raw_bytes);
/* Four hexadecimal digits that were checked. */
uint32_t json_text_hex4(const uint8_t *digits);
/* Unescapes checked text (between the quotes) and returns its full size, of which at most capacity
 * bytes are written. text may be NULL when capacity is 0. */
size_t json_text_unescape(const uint8_t *raw, size_t raw_bytes, uint8_t *text, size_t capacity);
/* The checked value [from, end): kind by its first byte, escapes by search. */
struct json_value json_text_value(const uint8_t *from, const uint8_t *end);

#endif
