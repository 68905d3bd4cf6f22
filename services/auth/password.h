/* password: what a password must be, and how it is kept: argon2id, 19 MiB, two passes.
 * Source: OWASP Password Storage Cheat Sheet; ASVS 5.0 V6.2 (length, no composition rules,
 * blocklist, no truncation). The two hashing functions take about 33 ms on a PC and 0.2 s on a
 * Raspberry Pi 4: hash workers only. */
#ifndef PIPIT_AUTH_PASSWORD_H
#define PIPIT_AUTH_PASSWORD_H

#include "common/err.h"
#include "services/auth/common_passwords.h"
#include <sodium.h>

#define PASSWORD_POINTS_MIN 8 /* Unicode code points */
#define PASSWORD_POINTS_MAX 256
#define PASSWORD_BYTES_MAX 1024
#define PASSWORD_HASH_BYTES crypto_pwhash_STRBYTES
#define PASSWORD_OPSLIMIT 2
#define PASSWORD_MEMLIMIT (19u * 1024u * 1024u)

/* NULL when the password may be used for this user name (not id); else one English sentence. The
 * text is valid UTF-8. */
const char *password_refusal(const struct common_passwords *common, const char *password,
                             const char *user_name);
/* ERR_NO_MEMORY. hash is a NUL-terminated text. */
enum err password_hash(const char *password, char hash[PASSWORD_HASH_BYTES]) MUST_CHECK;
/* True when the password belongs to the hash. hash NULL or "": false after the time that a real one
 * takes, so that an unknown user cannot be told from a known one. Call password_prepare first. */
bool password_matches(const char *hash, const char *password);
/* Makes the hash that stands in for unknown users. Once, at start; blocks as password_hash.
 * ERR_NO_MEMORY. */
enum err password_prepare(void) MUST_CHECK;

#endif
