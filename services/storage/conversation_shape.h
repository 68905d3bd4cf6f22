/* conversation_shape: what a new conversation must look like, whichever back end keeps it. */
#ifndef PIPIT_STORAGE_CONVERSATION_SHAPE_H
#define PIPIT_STORAGE_CONVERSATION_SHAPE_H

#include "common/arena.h"
#include "proto/storage.pb-c.h"

struct conversation_shape {
    char **users; /* the creator first, then the others, each once; texts of the request */
    size_t count; /* 1.. */
};
/* Checks the request and lists its users. ERR_INVALID: a bad id or title, a direct id that is not
 * derived from its users, more than two of them, a group with a reserved id. ERR_FULL: a group of
 * more than members_max. ERR_NO_MEMORY. */
enum err conversation_shape_read(const Pipit__ConversationCreate *request, size_t members_max,
                                 struct arena *arena, struct conversation_shape *shape) MUST_CHECK;

#endif
