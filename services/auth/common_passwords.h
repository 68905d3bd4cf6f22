/* common_passwords: passwords that everybody tries first. Loaded once, then read by any thread. */
#ifndef PIPIT_AUTH_COMMON_PASSWORDS_H
#define PIPIT_AUTH_COMMON_PASSWORDS_H

#include "common/err.h"
#include <stddef.h>

#define COMMON_PASSWORDS_FILE_BYTES_MAX (256u * 1024u * 1024u)

struct common_passwords;
/* Reads one password a line; lines that begin with "#!comment" are skipped. path "" makes an empty
 * list. Blocks. ERR_NOT_FOUND, ERR_DENIED, ERR_IO, ERR_TOO_LARGE, ERR_NO_MEMORY. */
enum err common_passwords_load(const char *path, struct common_passwords **out) MUST_CHECK;
void common_passwords_destroy(struct common_passwords **list);
size_t common_passwords_count(const struct common_passwords *list);
/* True when the password, ASCII case ignored, is on the list. */
bool common_passwords_have(const struct common_passwords *list, const char *password);

#endif
