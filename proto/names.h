/* names: the shape of every name a client may send, and the ids derived from them. All checks take
 * length-counted bytes, so they serve JSON, MQTT and REST alike; none allocates. */
#ifndef PIPIT_PROTO_NAMES_H
#define PIPIT_PROTO_NAMES_H

#include "common/err.h"
#include "proto/limits.h"
#include <stdbool.h>
#include <stddef.h>

#define NAMES_DIRECT_PREFIX "c_dm-" /* reserved: ids of direct conversations are derived */

/* [a-z0-9][a-z0-9._-]{0,31}, not beginning with "u_" (so that "u_bob" is always an id). */
bool names_user_name_valid(const char *name, size_t count);
/* "u_" + user name. */
bool names_user_id_valid(const char *id, size_t count);
/* c_[a-z0-9_-]{1,40}, direct ones included. */
bool names_conversation_id_valid(const char *id, size_t count);
/* As above, and not a direct conversation's: what a client may choose for a new group. */
bool names_group_id_valid(const char *id, size_t count);
bool names_is_direct(const char *conversation, size_t count);
/* d_[A-Za-z0-9_-]{1,37} */
bool names_device_id_valid(const char *id, size_t count);
/* 1..64 bytes of UTF-8 without controls and white space; whether it is an emoji is the client's
 * matter (new ones appear every year). */
bool names_emoji_valid(const char *emoji, size_t count);
/* Title or device name: 1..max_bytes of UTF-8 without controls, not only spaces. */
bool names_label_valid(const char *label, size_t count, size_t max_bytes);

/* Writes "u_" + name and a NUL. ERR_INVALID: not a user name. */
enum err names_user_id(const char *name, size_t count, char id[LIMIT_USER_ID_BYTES + 1]) MUST_CHECK;
/* Accepts "bob" or "u_bob" and writes the id; ERR_INVALID. */
enum err names_user_id_accept(const char *text, size_t count,
                              char id[LIMIT_USER_ID_BYTES + 1]) MUST_CHECK;
/* Accepts "family" or "c_family" and writes the id; text beginning with "c_" is taken as a whole
 * id. ERR_INVALID. */
enum err names_conversation_id_accept(const char *text, size_t count,
                                      char id[LIMIT_CONVERSATION_ID_BYTES + 1]) MUST_CHECK;
/* The conversation of two users, the same whichever is named first: "c_dm-" + the first 26 base32
 * characters (128 bits, lower case) of SHA-256 over the smaller id, a newline, the larger id. Both
 * arguments are user ids; a user may talk to itself (notes). ERR_INVALID: not user ids. */
enum err names_direct_conversation(const char *user, const char *other,
                                   char id[LIMIT_CONVERSATION_ID_BYTES + 1]) MUST_CHECK;

#endif
