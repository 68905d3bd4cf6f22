/* mongo_cursors: how far each user, and each device, has received and read.
 *
 * One document a cursor, moved by $max: it only grows (I5) in whatever order updates of several
 * instances arrive. The user's is {_id: conversation + user, read, delivered, changed}, the
 * device's
 * {_id: user + device + conversation, delivered}; an empty conversation there only says that the
 * device was here.
 *
 * The updates of all requests of a call are decided together: five commands whatever their number.
 * They are applied one after another to what was read; of what changed, the last state is written,
 * so a group of late receipts writes nothing. A member who is removed meanwhile may still move a
 * cursor, which nobody sees. */
#include "services/storage/mongo_filter.h"
#include "services/storage/mongo_places.h"

#include "common/clock.h"
#include "common/mem.h"

#define SCRATCH_BLOCK_BYTES (64u * 1024u)
#define SCRATCH_CAP_BYTES (64u * 1024u * 1024u)
#define CONVERSATIONS_AT_ONCE 16u /* with all their members in memory */

struct move {
    const Pipit__CursorUpdate *update;
    Pipit__CursorResult *result;
    size_t cursor; /* of its conversation and user: index of the first move with both */
    bool active;
    uint64_t head;
    uint64_t asked_delivered;
    struct mongo_cursor now; /* of the first move: the state so far */
    bool dirty;
};
struct moving {
    struct mongo_session session;
    struct arena scratch; /* of one step */
    struct move *moves;
    size_t count;
    const char **conversations; /* beside moves */
    const char **users;
    uint64_t now_ms;
};

/* --- what is asked for */

static bool update_valid(const Pipit__CursorUpdate *update) {
    return mongo_id_valid(update->user) &&
           (update->device[0] == '\0' || mongo_id_valid(update->device)) &&
           (update->conversation[0] == '\0' || mongo_id_valid(update->conversation));
}

static void add_moves(struct moving *moving, const struct store_cursors *item) {
    size_t count = item->request->n_updates;
    Pipit__CursorsReply *reply = item->reply;
    if (count == 0) {
        return;
    }
    Pipit__CursorResult *results = arena_alloc(item->arena, count * sizeof(*results));
    reply->results = arena_alloc(item->arena, count * sizeof(*reply->results));
    if (results == NULL || reply->results == NULL) {
        reply->error = ERR_NO_MEMORY; /* this request alone: the others have their own arenas */
        return;
    }
    reply->n_results = count;
    for (size_t i = 0; i < count; i++) {
        const Pipit__CursorUpdate *update = item->request->updates[i];
        pipit__cursor_result__init(&results[i]);
        reply->results[i] = &results[i];
        if (!update_valid(update)) {
            results[i].error = ERR_INVALID;
            continue;
        }
        moving->conversations[moving->count] = update->conversation;
        moving->users[moving->count] = update->user;
        moving->moves[moving->count++] = (struct move){.update = update, .result = &results[i]};
    }
}

static enum err prepare(struct moving *moving, const struct store_cursors *items, size_t count) {
    size_t moves = 0;
    for (size_t i = 0; i < count; i++) {
        moves += items[i].request->n_updates;
    }
    if (moves == 0) {
        return ERR_OK;
    }
    moving->moves = mem_alloc(moves * sizeof(*moving->moves));
    moving->conversations = mem_alloc(moves * sizeof(*moving->conversations));
    moving->users = mem_alloc(moves * sizeof(*moving->users));
    if (moving->moves == NULL || moving->conversations == NULL || moving->users == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        add_moves(moving, &items[i]);
    }
    return ERR_OK;
}

static void finish(struct moving *moving) {
    mem_free(moving->users);
    mem_free(moving->conversations);
    mem_free(moving->moves);
    arena_finish(&moving->scratch);
}

/* --- what is known */

/* Who is an active member: some conversations at a time, at `from` in the sorted places. */
static enum err admit_some(struct moving *moving, const struct mongo_places *places, size_t from,
                           size_t *next) {
    const char *ids[CONVERSATIONS_AT_ONCE];
    struct mongo_conversation found[CONVERSATIONS_AT_ONCE];
    size_t count = 0;
    size_t end = from;
    for (; end < places->count; end++) {
        const char *id = places->sorted[end].text;
        if (end > from && strcmp(id, places->sorted[end - 1].text) == 0) {
            continue;
        }
        if (count == CONVERSATIONS_AT_ONCE) {
            break;
        }
        ids[count++] = id;
    }
    *next = end;
    arena_reset(&moving->scratch);
    enum err error =
        mongo_conversations_read(&moving->session, ids, count, &moving->scratch, found);
    size_t at = 0;
    for (size_t i = from; i < end && error == ERR_OK; i++) {
        struct move *move = &moving->moves[places->sorted[i].place];
        if (strcmp(ids[at], move->update->conversation) != 0) {
            at++;
        }
        const Pipit__Member *member =
            found[at].proto != NULL ? mongo_member_of(&found[at], move->update->user) : NULL;
        move->active = member != NULL && member->state == PIPIT__MEMBER_STATE__MEMBER_ACTIVE;
    }
    return error;
}

static enum err admit(struct moving *moving) {
    struct mongo_places places;
    enum err error = mongo_places_init(&places, moving->conversations, moving->count);
    if (error != ERR_OK) {
        return error;
    }
    size_t from = 0;
    while (from < places.count && places.sorted[from].text[0] == '\0') {
        from++; /* only remember the device; the empty id comes first */
    }
    while (from < places.count && error == ERR_OK) {
        error = admit_some(moving, &places, from, &from);
    }
    mongo_places_finish(&places);
    return error;
}

/* Links moves of one conversation and user: the first holds their state. */
static enum err link_moves(struct moving *moving) {
    char(*room)[MONGO_JOINED_BYTES] = mem_alloc(moving->count * sizeof(*room));
    const char **ids = mem_alloc(moving->count * sizeof(*ids));
    struct mongo_places places;
    enum err error = room == NULL || ids == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = 0; i < moving->count && error == ERR_OK; i++) {
        ids[i] = mongo_join(room[i], moving->conversations[i], moving->users[i], NULL);
    }
    if (error == ERR_OK) {
        error = mongo_places_init(&places, ids, moving->count);
    }
    if (error == ERR_OK) {
        for (size_t i = 0; i < moving->count; i++) {
            size_t same = 0;
            const struct mongo_place *place = mongo_places_find(&places, ids[i], &same);
            moving->moves[i].cursor = i;
            for (size_t j = 0; j < same; j++) {
                if (place[j].place < moving->moves[i].cursor) {
                    moving->moves[i].cursor = place[j].place;
                }
            }
        }
        mongo_places_finish(&places);
    }
    mem_free(ids);
    mem_free(room);
    return error;
}

static enum err load(struct moving *moving) {
    size_t count = moving->count;
    uint64_t *numbers = mem_alloc(2 * count * sizeof(*numbers));
    struct mongo_cursor *cursors = mem_alloc(count * sizeof(*cursors));
    enum err error = numbers == NULL || cursors == NULL ? ERR_NO_MEMORY : ERR_OK;
    if (error == ERR_OK) {
        error = mongo_heads_read(&moving->session, moving->conversations, count, numbers,
                                 numbers + count);
    }
    if (error == ERR_OK) {
        error = mongo_cursors_read(&moving->session, moving->conversations, moving->users, count,
                                   cursors);
    }
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        moving->moves[i].head = numbers[i];
        moving->moves[i].now = cursors[i];
    }
    mem_free(cursors);
    mem_free(numbers);
    return error;
}

/* --- the moves */

static uint64_t largest(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t cut(uint64_t seq, uint64_t head) {
    return seq < head ? seq : head;
}

static void apply(struct moving *moving, struct move *move) {
    const Pipit__CursorUpdate *update = move->update;
    Pipit__CursorResult *result = move->result;
    if (update->conversation[0] == '\0') {
        move->asked_delivered = 1;
        return;
    }
    if (!move->active) {
        result->error = ERR_NOT_MEMBER;
        return;
    }
    struct move *first = &moving->moves[move->cursor];
    uint64_t asked_read = cut(update->read_seq, move->head);
    move->asked_delivered = largest(cut(update->delivered_seq, move->head), asked_read);
    result->read_seq = largest(first->now.read_seq, asked_read);
    result->delivered_seq = largest(first->now.delivered_seq, move->asked_delivered);
    result->changed = result->read_seq != first->now.read_seq ||
                      result->delivered_seq != first->now.delivered_seq;
    first->now.read_seq = result->read_seq;
    first->now.delivered_seq = result->delivered_seq;
    first->dirty = first->dirty || result->changed;
}

static void begin_update(struct mongo_update *update, const char *id, bson_t *max) {
    update->filter = bson_new();
    update->update = bson_new();
    update->upsert = true;
    BSON_APPEND_UTF8(update->filter, "_id", id);
    BSON_APPEND_DOCUMENT_BEGIN(update->update, "$max", max);
}

static size_t user_updates(struct moving *moving, struct mongo_update *updates) {
    size_t count = 0;
    for (size_t i = 0; i < moving->count; i++) {
        const struct move *move = &moving->moves[i];
        if (move->dirty) {
            char id[MONGO_JOINED_BYTES];
            bson_t max;
            struct mongo_update *update = &updates[count++];
            begin_update(
                update, mongo_join(id, move->update->conversation, move->update->user, NULL), &max);
            BSON_APPEND_INT64(&max, "read", (int64_t)move->now.read_seq);
            BSON_APPEND_INT64(&max, "delivered", (int64_t)move->now.delivered_seq);
            BSON_APPEND_INT64(&max, "changed", (int64_t)moving->now_ms);
            bson_append_document_end(update->update, &max);
        }
    }
    return count;
}

static size_t device_updates(struct moving *moving, struct mongo_update *updates) {
    size_t count = 0;
    for (size_t i = 0; i < moving->count; i++) {
        const struct move *move = &moving->moves[i];
        if (move->update->device[0] != '\0' && move->asked_delivered > 0) {
            char id[MONGO_JOINED_BYTES];
            bson_t max;
            struct mongo_update *update = &updates[count++];
            begin_update(update,
                         mongo_join(id, move->update->user, move->update->device,
                                    move->update->conversation),
                         &max);
            BSON_APPEND_INT64(&max, "delivered", (int64_t)move->asked_delivered);
            bson_append_document_end(update->update, &max);
        }
    }
    return count;
}

static enum err store(struct moving *moving, enum mongo_collection collection,
                      size_t (*fill)(struct moving *moving, struct mongo_update *updates)) {
    /* FerretDB's updates are not atomic: one at a time at least in this process. */
    static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
    struct mongo_update *updates = mem_alloc(moving->count * sizeof(*updates));
    if (updates == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t matched = 0;
    size_t count = fill(moving, updates);
    (void)pthread_mutex_lock(&writing); /* cannot fail: static, not recursive */
    enum err error = mongo_update(&moving->session, collection, updates, count, &matched);
    (void)pthread_mutex_unlock(&writing);
    for (size_t i = 0; i < count; i++) {
        bson_destroy(updates[i].filter);
        bson_destroy(updates[i].update);
    }
    mem_free(updates);
    return error;
}

static enum err move_all(struct moving *moving) {
    enum err error = admit(moving);
    if (error == ERR_OK) {
        error = link_moves(moving);
    }
    if (error == ERR_OK) {
        error = load(moving);
    }
    if (error != ERR_OK) {
        return error;
    }
    for (size_t i = 0; i < moving->count; i++) {
        apply(moving, &moving->moves[i]);
    }
    error = store(moving, MONGO_CURSORS, user_updates);
    return error == ERR_OK ? store(moving, MONGO_DEVICE_CURSORS, device_updates) : error;
}

enum err mongo_cursors(struct store *store, const struct store_cursors *items, size_t count) {
    struct moving moving = {.now_ms = clock_wall_ms()}; /* updates carry no time */
    arena_init(&moving.scratch, SCRATCH_BLOCK_BYTES, SCRATCH_CAP_BYTES);
    enum err error = prepare(&moving, items, count);
    if (error == ERR_OK && moving.count > 0) {
        error = mongo_begin(mongo_store_of(store)->db, &moving.session);
        if (error == ERR_OK) {
            error = move_all(&moving);
            mongo_end(&moving.session);
        }
    }
    for (size_t i = 0; i < count && error != ERR_OK; i++) {
        items[i].reply->n_results = 0; /* nothing of it may look like success */
    }
    finish(&moving);
    return error;
}
