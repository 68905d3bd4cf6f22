/* conversation_shape: rules for ConversationCreate that need no database.
 *
 * A client names whom it wants in any order, perhaps itself and perhaps twice; here that becomes a
 * list without repetitions, so a limit counts people. Ids of direct conversations are derived, and
 * reserved, so that both sides find theirs without a lookup (design section 4). */
#include "services/storage/conversation_shape.h"

#include "proto/names.h"
#include "services/storage/store.h"
#include <string.h>

#define DIRECT PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT

static enum err collect_users(const Pipit__ConversationCreate *request, struct arena *arena,
                              struct conversation_shape *shape) {
    char **found = arena_alloc(arena, (request->n_members + 1) * sizeof(*found));
    if (found == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t used = 0;
    found[used++] = request->creator;
    for (size_t i = 0; i < request->n_members; i++) {
        bool known = false;
        for (size_t j = 0; j < used && !known; j++) {
            known = strcmp(found[j], request->members[i]) == 0;
        }
        if (!known) {
            found[used++] = request->members[i];
        }
    }
    *shape = (struct conversation_shape){.users = found, .count = used};
    return ERR_OK;
}

static bool id_valid(const char *id) {
    return id[0] != '\0' && strnlen(id, STORE_ID_BYTES_MAX + 1) <= STORE_ID_BYTES_MAX;
}

static enum err check(const Pipit__ConversationCreate *request, size_t members_max,
                      const struct conversation_shape *shape) {
    for (size_t i = 0; i < shape->count; i++) {
        if (!id_valid(shape->users[i])) {
            return ERR_INVALID;
        }
    }
    if (!id_valid(request->id) ||
        strnlen(request->title, STORE_TEXT_BYTES_MAX + 1) > STORE_TEXT_BYTES_MAX) {
        return ERR_INVALID;
    }
    if (request->kind != DIRECT) {
        if (names_is_direct(request->id, strlen(request->id))) {
            return ERR_INVALID;
        }
        return shape->count > members_max ? ERR_FULL : ERR_OK;
    }
    char derived[LIMIT_CONVERSATION_ID_BYTES + 1];
    if (shape->count > 2 ||
        names_direct_conversation(shape->users[0], shape->users[shape->count - 1], derived) !=
            ERR_OK) {
        return ERR_INVALID;
    }
    return strcmp(derived, request->id) == 0 ? ERR_OK : ERR_INVALID;
}

enum err conversation_shape_read(const Pipit__ConversationCreate *request, size_t members_max,
                                 struct arena *arena, struct conversation_shape *shape) {
    enum err error = collect_users(request, arena, shape);
    return error != ERR_OK ? error : check(request, members_max, shape);
}
