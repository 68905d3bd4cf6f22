/* sessions: a session is one device's login: a family of refresh tokens in storage and the access
 * tokens issued from it. Beginning and ending them, for every operation that does. */
#ifndef PIPIT_AUTH_SESSIONS_H
#define PIPIT_AUTH_SESSIONS_H

#include "services/auth/call.h"

#define SESSION_PLATFORM_BYTES 32

struct session_device {
    char id[LIMIT_DEVICE_ID_BYTES + 1]; /* "" = make one */
    char name[LIMIT_DEVICE_NAME_BYTES + 1];
    char platform[SESSION_PLATFORM_BYTES + 1];
};
/* Reads the optional member "device" of the body: {"id"?,"name"?,"platform"?}. */
bool session_device_read(struct call *call, struct session_device *device) MUST_CHECK;
/* Logs the device in and answers with its tokens. The password was checked. */
bool session_begin(struct call *call, const char *user, const struct session_device *device,
                   int status) MUST_CHECK;
/* Writes the answer of login and refresh. issued_s: taken before storage was asked, so that a
 * revocation in between kills the token. */
bool session_answer(struct call *call, int status, const Pipit__User *user,
                    const Pipit__Device *device, const char *refresh_token,
                    uint64_t issued_s) MUST_CHECK;

struct session_end {
    const char *user;
    const char *device; /* NULL = all of the user's */
    const char *except; /* with device NULL: this one stays; NULL = none */
    bool delete_device; /* forget the device, too */
    bool disabled;      /* the reason to tell */
};
/* Ends sessions in storage, here at once, and everywhere by the stream. Idempotent. ERR_NOT_FOUND:
 * no such user or device. */
enum err session_end(struct call *call, const struct session_end *end) MUST_CHECK;

#endif
