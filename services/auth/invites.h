/* invites: one-time codes that let people register. Storage knows their SHA-256 alone. */
#ifndef PIPIT_AUTH_INVITES_H
#define PIPIT_AUTH_INVITES_H

#include "services/auth/ask.h"

#define INVITE_HASH_BYTES 32
#define INVITE_CODE_BYTES 32     /* of ours: "pi_", 16 characters (80 random bits), NUL */
#define INVITE_CODE_BYTES_MAX 64 /* taken from clients */
#define INVITE_LIFETIME_MS (7u * 24u * 3600u * 1000u) /* default */

void invite_make(char code[INVITE_CODE_BYTES]);
void invite_hash(const char *code, uint8_t hash[INVITE_HASH_BYTES]);

/* The first start: when storage has neither users nor a live administrator's invite, makes one and
 * prints it, the only secret this process ever prints. Blocks. Call again after an error, with the
 * same struct, until ERR_OK: an outcome that was unknown is settled by the next call. */
struct invite_first {
    char code[INVITE_CODE_BYTES]; /* "" at first */
};
enum err invite_first_start(struct invite_first *first, struct ask *ask,
                            uint64_t now_ms) MUST_CHECK;

#endif
