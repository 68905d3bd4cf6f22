/* users: profiles and the directory. */
#ifndef PIPIT_AUTH_USERS_H
#define PIPIT_AUTH_USERS_H

#include "services/auth/call.h"

#define USERS_DISPLAY_NAME_BYTES 64

/* Loads a user from storage. ERR_NOT_FOUND and errors of ask_storage. */
enum err users_load(struct call *call, const char *id, bool with_secret,
                    Pipit__User **user) MUST_CHECK;
/* Reads the optional field "display_name"; absent: *name stays untouched. */
bool users_read_display_name(struct call *call, const char **name) MUST_CHECK;
/* {"id","name","display_name","admin"}: what a user sees of itself. */
void users_write_self(struct json_writer *json, const Pipit__User *user);
/* {"id","name","display_name"}: what others see. */
void users_write_public(struct json_writer *json, const Pipit__User *user);
/* Lists users by the query parameters query, after and limit; with_disabled for administrators. */
bool users_list(struct call *call, bool with_disabled, Pipit__UsersReply **reply) MUST_CHECK;

#endif
