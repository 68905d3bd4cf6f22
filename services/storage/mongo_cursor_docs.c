/* mongo_cursor_docs: reading cursors, which are documents of their own (mongo_cursors.c): many at
 * once by their composed ids, in one command. */
#include "services/storage/mongo_filter.h"
#include "services/storage/mongo_places.h"

#include "common/mem.h"

struct reading {
    struct mongo_places places;
    struct mongo_cursor *cursors;
    uint64_t *delivered;
    bool any;
};

static enum err read_cursor(const bson_t *doc, void *user) {
    struct reading *reading = user;
    size_t count = 0;
    const struct mongo_place *place =
        mongo_places_find(&reading->places, mongo_peek(doc, "_id"), &count);
    for (size_t i = 0; i < count; i++) {
        reading->cursors[place[i].place] =
            (struct mongo_cursor){.read_seq = mongo_u64(doc, "read"),
                                  .delivered_seq = mongo_u64(doc, "delivered"),
                                  .changed_ms = mongo_u64(doc, "changed")};
    }
    return ERR_OK;
}

static enum err read_device(const bson_t *doc, void *user) {
    struct reading *reading = user;
    size_t count = 0;
    const struct mongo_place *place =
        mongo_places_find(&reading->places, mongo_peek(doc, "_id"), &count);
    for (size_t i = 0; i < count; i++) {
        reading->delivered[place[i].place] = mongo_u64(doc, "delivered");
    }
    reading->any = true;
    return ERR_OK;
}

/* Finds the documents of these composed ids. */
static enum err find_joined(struct mongo_session *session, enum mongo_collection collection,
                            const char *const *ids, size_t count,
                            enum err (*each)(const bson_t *doc, void *user),
                            struct reading *reading) {
    bson_t filter = BSON_INITIALIZER;
    enum err error = mongo_places_init(&reading->places, ids, count);
    if (error == ERR_OK) {
        mongo_append_in(&filter, "_id", ids, count);
        struct mongo_find find = {.collection = collection, .filter = &filter};
        error = mongo_find(session, &find, each, reading);
        mongo_places_finish(&reading->places);
    }
    bson_destroy(&filter);
    return error;
}

enum err mongo_cursors_read(struct mongo_session *session, const char *const *conversations,
                            const char *const *users, size_t count, struct mongo_cursor *out) {
    struct reading reading = {.cursors = out};
    if (count == 0) {
        return ERR_OK;
    }
    char(*room)[MONGO_JOINED_BYTES] = mem_alloc(count * sizeof(*room));
    const char **ids = mem_alloc(count * sizeof(*ids));
    enum err error = room == NULL || ids == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        out[i] = (struct mongo_cursor){0};
        ids[i] = mongo_join(room[i], conversations[i], users[i], NULL);
    }
    if (error == ERR_OK) {
        error = find_joined(session, MONGO_CURSORS, ids, count, read_cursor, &reading);
    }
    mem_free(ids);
    mem_free(room);
    return error;
}

/* A cursor of any conversation says that the device was here, too. */
static enum err device_known(struct mongo_session *session, const char *user, const char *device,
                             bool *known) {
    bson_t filter;
    bson_t doc;
    mongo_range_filter(&filter, user, device);
    struct mongo_find find = {.collection = MONGO_DEVICE_CURSORS, .filter = &filter};
    enum err error = mongo_find_one(session, &find, &doc);
    bson_destroy(&doc);
    bson_destroy(&filter);
    *known = error == ERR_OK;
    return error == ERR_NOT_FOUND ? ERR_OK : error;
}

enum err mongo_device_cursors_read(struct mongo_session *session, const char *user,
                                   const char *device, const char *const *conversations,
                                   size_t count, uint64_t *delivered, bool *known) {
    struct reading reading = {.delivered = delivered};
    if (count == 0) {
        return device_known(session, user, device, known);
    }
    char(*room)[MONGO_JOINED_BYTES] = mem_alloc(count * sizeof(*room));
    const char **ids = mem_alloc(count * sizeof(*ids));
    enum err error = room == NULL || ids == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = 0; i < count && error == ERR_OK; i++) {
        delivered[i] = 0;
        ids[i] = mongo_join(room[i], user, device, conversations[i]);
    }
    if (error == ERR_OK) {
        error = find_joined(session, MONGO_DEVICE_CURSORS, ids, count, read_device, &reading);
    }
    mem_free(ids);
    mem_free(room);
    if (error != ERR_OK) {
        return error;
    }
    *known = reading.any;
    return reading.any ? ERR_OK : device_known(session, user, device, known);
}
