/* revocations: which access tokens are dead before their time, in memory. A token is dead when it
 * was issued before the revocation of its user or device. Entries are merged, so storage's
 * snapshot, our own revocations and other instances' events may arrive in any order and twice. Any
 * thread. */
#ifndef PIPIT_AUTH_REVOCATIONS_H
#define PIPIT_AUTH_REVOCATIONS_H

#include "common/err.h"
#include "common/token.h"
#include <stddef.h>
#include <stdint.h>

struct revocation {
    char user[TOKEN_USER_BYTES];
    char device[TOKEN_DEVICE_BYTES]; /* "" = all devices */
    char except[TOKEN_DEVICE_BYTES]; /* with device "": this one lives */
    uint64_t before_ms;              /* tokens issued before are dead */
    uint64_t until_ms;               /* forgotten after this: such tokens have expired */
    bool disabled;                   /* the reason to tell */
};
struct revocations;
/* entries_max bounds memory (about 200 bytes each). Beyond it the set turns to the safe side: every
 * token issued until then is dead. */
enum err revocations_create(size_t entries_max, struct revocations **out) MUST_CHECK;
void revocations_destroy(struct revocations **set);
/* Copies. Without memory it acts as when full. */
void revocations_add(struct revocations *set, const struct revocation *revocation, uint64_t now_ms);

enum revocation_verdict { REVOCATION_ALIVE, REVOCATION_DEAD, REVOCATION_DISABLED };
enum revocation_verdict revocations_check(struct revocations *set,
                                          const struct token_claims *claims);
/* The newest before_ms that concerns this device (NULL: any device of the user); 0 = none. A token
 * issued at or after it lives. */
uint64_t revocations_floor(struct revocations *set, const char *user, const char *device);
/* Forgets what is past its until_ms. */
void revocations_expire(struct revocations *set, uint64_t now_ms);
size_t revocations_count(struct revocations *set);

/* Token times are whole seconds, so a revocation is as well: the next second, and later than every
 * token that was already given to the time ahead (floor_ms, see revocations_floor). */
uint64_t revocation_before_ms(uint64_t now_ms, uint64_t floor_ms);

#endif
