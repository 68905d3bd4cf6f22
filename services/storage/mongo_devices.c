/* mongo_devices: devices: {_id: user 0x1f device, user, device, name, platform, created, seen}.
 *
 * The limit of devices is kept without a counter: a new device counts the others, is inserted, and
 * moves the user's revision on (mongo_swap.c); of several that log in at once one goes first. A
 * crash in between leaves a device without a session, which the next login takes over. */
#include "services/storage/mongo_accounts.h"
#include "services/storage/mongo_swap.h"

#include <stdlib.h>

static Pipit__Device *decode(const bson_t *doc, struct arena *arena) {
    Pipit__Device *device = arena_alloc(arena, sizeof(*device));
    if (device == NULL) {
        return NULL;
    }
    pipit__device__init(device);
    device->user = mongo_text(doc, "user", arena);
    device->id = mongo_text(doc, "device", arena);
    device->name = mongo_text(doc, "name", arena);
    device->platform = mongo_text(doc, "platform", arena);
    if (device->user == NULL || device->id == NULL || device->name == NULL ||
        device->platform == NULL) {
        return NULL;
    }
    device->created_ms = mongo_u64(doc, "created");
    device->seen_ms = mongo_u64(doc, "seen");
    return device;
}

enum err mongo_device_load(struct mongo_session *session, const char *user, const char *id,
                           struct arena *arena, Pipit__Device **device) {
    char key[MONGO_JOINED_BYTES];
    bson_t doc;
    enum err error = mongo_get(session, MONGO_DEVICES, mongo_join(key, user, id, NULL), &doc);
    if (error == ERR_OK) {
        Pipit__Device *found = decode(&doc, arena);
        error = found == NULL ? ERR_NO_MEMORY : ERR_OK;
        *device = found != NULL ? found : *device;
    }
    bson_destroy(&doc);
    return error;
}

/* --- all of a user's */

struct listing {
    struct arena *arena;
    Pipit__Device **devices;
    size_t count, room;
};

static enum err add(const bson_t *doc, void *user) {
    struct listing *listing = user;
    if (listing->count == listing->room) {
        size_t room = listing->room == 0 ? 16 : listing->room * 2;
        Pipit__Device **devices = arena_alloc(listing->arena, room * sizeof(*devices));
        if (devices == NULL) {
            return ERR_NO_MEMORY;
        }
        if (listing->count > 0) {
            memcpy(devices, listing->devices, listing->count * sizeof(*devices));
        }
        listing->devices = devices;
        listing->room = room;
    }
    Pipit__Device *device = decode(doc, listing->arena);
    if (device == NULL) {
        return ERR_NO_MEMORY;
    }
    listing->devices[listing->count++] = device;
    return ERR_OK;
}

static int compare(const void *left, const void *right) {
    const Pipit__Device *a = *(Pipit__Device *const *)left;
    const Pipit__Device *b = *(Pipit__Device *const *)right;
    if (a->created_ms != b->created_ms) {
        return a->created_ms < b->created_ms ? -1 : 1;
    }
    return strcmp(a->id, b->id);
}

/* Oldest first. */
static enum err list(struct mongo_session *session, const char *user, struct listing *listing) {
    bson_t filter;
    bson_t sort;
    mongo_range_filter(&filter, user, NULL);
    mongo_sort_by_id(&sort);
    struct mongo_find find = {.collection = MONGO_DEVICES, .filter = &filter, .sort = &sort};
    enum err error = mongo_find(session, &find, add, listing);
    bson_destroy(&sort);
    bson_destroy(&filter);
    if (error == ERR_OK && listing->count > 1) {
        qsort(listing->devices, listing->count, sizeof(*listing->devices), compare);
    }
    return error;
}

enum err mongo_devices(struct store *store, const Pipit__DevicesRequest *request,
                       struct arena *arena, Pipit__DevicesReply *reply) {
    struct mongo_session session;
    struct listing listing = {.arena = arena};
    if (!mongo_id_valid(request->user)) {
        return ERR_OK; /* nobody's list */
    }
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = list(&session, request->user, &listing);
    mongo_end(&session);
    if (error == ERR_OK) {
        reply->devices = listing.devices;
        reply->n_devices = listing.count;
    }
    return error;
}

/* --- adding and renewing */

static enum err renew(struct mongo_session *session, const Pipit__SessionCreate *request,
                      const char *key, size_t *matched) {
    bson_t update = BSON_INITIALIZER;
    bson_t set;
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
    BSON_APPEND_UTF8(&set, "name", request->device->name);
    BSON_APPEND_UTF8(&set, "platform", request->device->platform);
    BSON_APPEND_INT64(&set, "seen", (int64_t)request->now_ms);
    bson_append_document_end(&update, &set);
    enum err error = mongo_update_by_id(session, MONGO_DEVICES, key, &update, false, matched);
    bson_destroy(&update);
    return error;
}

void mongo_device_encode(const Pipit__Device *device, bson_t *doc) {
    char id[MONGO_JOINED_BYTES];
    BSON_APPEND_UTF8(doc, "_id", mongo_join(id, device->user, device->id, NULL));
    BSON_APPEND_UTF8(doc, "user", device->user);
    BSON_APPEND_UTF8(doc, "device", device->id);
    BSON_APPEND_UTF8(doc, "name", device->name);
    BSON_APPEND_UTF8(doc, "platform", device->platform);
    BSON_APPEND_INT64(doc, "created", (int64_t)device->created_ms);
    BSON_APPEND_INT64(doc, "seen", (int64_t)device->seen_ms);
}

static enum err insert(struct mongo_session *session, const Pipit__SessionCreate *request) {
    Pipit__Device device = *request->device;
    bson_t doc = BSON_INITIALIZER;
    device.created_ms = device.seen_ms = request->now_ms;
    mongo_device_encode(&device, &doc);
    enum err error = mongo_insert_one(session, MONGO_DEVICES, &doc);
    bson_destroy(&doc);
    return error;
}

/* ERR_FULL: the user's other devices leave no place for this one. */
static enum err check_room(struct mongo_session *session, const Pipit__SessionCreate *request,
                           struct arena *arena) {
    struct listing listing = {.arena = arena};
    enum err error = list(session, request->device->user, &listing);
    size_t others = 0;
    for (size_t i = 0; i < listing.count; i++) {
        others += strcmp(listing.devices[i]->id, request->device->id) != 0;
    }
    return error == ERR_OK && others >= request->devices_max ? ERR_FULL : error;
}

static enum err user_rev(struct mongo_session *session, const char *user, uint64_t *rev) {
    bson_t doc;
    enum err error = mongo_get(session, MONGO_USERS, user, &doc);
    if (error == ERR_OK) {
        *rev = mongo_u64(&doc, MONGO_REV);
    }
    bson_destroy(&doc);
    return error;
}

/* Unless another login of the same device has renewed it meanwhile. */
static enum err take_back(struct mongo_session *session, const Pipit__SessionCreate *request,
                          const char *key) {
    bson_t filter;
    size_t deleted = 0;
    mongo_id_filter(&filter, key);
    BSON_APPEND_INT64(&filter, "created", (int64_t)request->now_ms);
    BSON_APPEND_INT64(&filter, "seen", (int64_t)request->now_ms);
    enum err error = mongo_delete(session, MONGO_DEVICES, &filter, &deleted);
    bson_destroy(&filter);
    return error;
}

/* Of several new devices of a user at once, each moves the user's revision on: who finds it moved
 * by another one takes its device back and counts again. */
static enum err add_counted(struct mongo_session *session, const Pipit__SessionCreate *request,
                            const char *key, struct arena *arena, bool *lost) {
    const char *user = request->device->user;
    bson_t nothing = BSON_INITIALIZER;
    uint64_t rev = 0;
    *lost = false;
    enum err error = user_rev(session, user, &rev);
    if (error == ERR_OK) {
        error = check_room(session, request, arena);
    }
    if (error == ERR_OK) {
        error = insert(session, request);
    }
    bool inserted = error == ERR_OK;
    if (inserted) {
        error = mongo_swap(session, MONGO_USERS, user, rev, NULL, &nothing, lost);
    }
    if (inserted && (error != ERR_OK || *lost)) { /* a device that nobody has would count */
        enum err undone = take_back(session, request, key);
        error = error != ERR_OK ? error : undone;
    }
    bson_destroy(&nothing);
    return error;
}

static enum err add_new(struct mongo_session *session, const Pipit__SessionCreate *request,
                        const char *key, struct arena *arena) {
    if (request->devices_max == 0) {
        return insert(session, request);
    }
    bool lost = true;
    enum err error = ERR_OK;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost && error == ERR_OK; i++) {
        error = add_counted(session, request, key, arena, &lost);
    }
    return error == ERR_OK && lost ? ERR_UNAVAILABLE : error;
}

enum err mongo_device_put(struct mongo_session *session, const Pipit__SessionCreate *request,
                          struct arena *arena, bool *created) {
    char key[MONGO_JOINED_BYTES];
    size_t matched = 0;
    (void)mongo_join(key, request->device->user, request->device->id, NULL);
    *created = false;
    enum err error = renew(session, request, key, &matched);
    if (error != ERR_OK || matched > 0) {
        return error;
    }
    error = add_new(session, request, key, arena);
    if (error == ERR_EXISTS) { /* it logged in twice at once */
        return renew(session, request, key, &matched);
    }
    *created = error == ERR_OK;
    return error;
}

enum err mongo_device_seen(struct mongo_session *session, const char *user, const char *id,
                           uint64_t now_ms) {
    char key[MONGO_JOINED_BYTES];
    size_t matched = 0;
    bson_t update = BSON_INITIALIZER;
    bson_t newest;
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$max", &newest);
    BSON_APPEND_INT64(&newest, "seen", (int64_t)now_ms);
    bson_append_document_end(&update, &newest);
    enum err error = mongo_update_by_id(session, MONGO_DEVICES, mongo_join(key, user, id, NULL),
                                        &update, false, &matched);
    bson_destroy(&update);
    return error;
}
