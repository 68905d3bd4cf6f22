/* mongo_keys: the signing keys that all auth instances share: one document,
 *
 *   {_id: "keys", rev, keys: [{kid, pem, x, y, created, signs, retires}]}
 *
 * because the rule is about all of them: two instances may make a key at the same moment, and
 * expected_count lets one of them win by the comparison of the revision; the other reads what won.
 * There are a handful of keys at any time. */
#include "services/storage/mongo_accounts.h"

#include "services/storage/mongo_swap.h"
#include <stdlib.h>

#define KEYS_ID "keys"
#define COORDINATE_BYTES 32u

struct keys {
    struct arena *arena;
    Pipit__SigningKey **items; /* with room for one more */
    size_t count;
    uint64_t rev; /* 0: there is no document yet */
};

static bool live(const Pipit__SigningKey *key, uint64_t now_ms) {
    return key->retires_ms == 0 || key->retires_ms > now_ms;
}

static enum err count_item(const bson_t *item, void *user) {
    (void)item;
    ++*(size_t *)user;
    return ERR_OK;
}

static enum err decode_key(const bson_t *item, void *user) {
    struct keys *keys = user;
    Pipit__SigningKey *key = arena_alloc(keys->arena, sizeof(*key));
    if (key == NULL) {
        return ERR_NO_MEMORY;
    }
    pipit__signing_key__init(key);
    key->kid = mongo_text(item, "kid", keys->arena);
    if (key->kid == NULL) {
        return ERR_NO_MEMORY;
    }
    key->created_ms = mongo_u64(item, "created");
    key->signs_from_ms = mongo_u64(item, "signs");
    key->retires_ms = mongo_u64(item, "retires");
    enum err error = mongo_bytes(item, "pem", keys->arena, &key->private_pem);
    if (error == ERR_OK) {
        error = mongo_bytes(item, "x", keys->arena, &key->x);
    }
    if (error == ERR_OK) {
        error = mongo_bytes(item, "y", keys->arena, &key->y);
    }
    if (error == ERR_OK) {
        keys->items[keys->count++] = key;
    }
    return error;
}

static enum err read_keys(struct mongo_session *session, struct arena *arena, struct keys *keys) {
    bson_t doc;
    size_t count = 0;
    *keys = (struct keys){.arena = arena};
    enum err error = mongo_get(session, MONGO_KEYS, KEYS_ID, &doc);
    if (error == ERR_OK) {
        keys->rev = mongo_u64(&doc, MONGO_REV);
        error = mongo_each(&doc, "keys", count_item, &count);
    } else if (error == ERR_NOT_FOUND) {
        error = ERR_OK;
    }
    if (error == ERR_OK) {
        keys->items = arena_alloc(arena, (count + 1) * sizeof(*keys->items));
        error = keys->items == NULL ? ERR_NO_MEMORY : ERR_OK;
    }
    if (error == ERR_OK && count > 0) {
        error = mongo_each(&doc, "keys", decode_key, keys);
    }
    bson_destroy(&doc);
    return error;
}

static void append_bytes(bson_t *item, const char *name, const ProtobufCBinaryData *bytes) {
    static const uint8_t none[1];
    BSON_APPEND_BINARY(item, name, BSON_SUBTYPE_BINARY, bytes->data != NULL ? bytes->data : none,
                       (uint32_t)bytes->len);
}

static void encode_keys(Pipit__SigningKey *const *keys, size_t count, bson_t *fields) {
    bson_t array;
    BSON_APPEND_ARRAY_BEGIN(fields, "keys", &array);
    for (size_t i = 0; i < count; i++) {
        const Pipit__SigningKey *key = keys[i];
        char room[16];
        const char *place = NULL;
        bson_t item;
        (void)bson_uint32_to_string((uint32_t)i, &place, room, sizeof(room));
        BSON_APPEND_DOCUMENT_BEGIN(&array, place, &item);
        BSON_APPEND_UTF8(&item, "kid", key->kid);
        append_bytes(&item, "pem", &key->private_pem);
        append_bytes(&item, "x", &key->x);
        append_bytes(&item, "y", &key->y);
        BSON_APPEND_INT64(&item, "created", (int64_t)key->created_ms);
        BSON_APPEND_INT64(&item, "signs", (int64_t)key->signs_from_ms);
        BSON_APPEND_INT64(&item, "retires", (int64_t)key->retires_ms);
        bson_append_document_end(&array, &item);
    }
    bson_append_array_end(fields, &array);
}

void mongo_keys_encode(Pipit__SigningKey *const *keys, size_t count, bson_t *doc) {
    BSON_APPEND_UTF8(doc, "_id", KEYS_ID);
    BSON_APPEND_INT64(doc, MONGO_REV, 1);
    encode_keys(keys, count, doc);
}

/* Replaces what was read, or makes the document. *lost: somebody else was faster. */
static enum err write_keys(struct mongo_session *session, const struct keys *keys, bool *lost) {
    bson_t fields = BSON_INITIALIZER;
    enum err error = ERR_OK;
    if (keys->rev == 0) {
        mongo_keys_encode(keys->items, keys->count, &fields);
        error = mongo_insert_one(session, MONGO_KEYS, &fields);
        *lost = error == ERR_EXISTS;
        error = *lost ? ERR_OK : error;
    } else {
        encode_keys(keys->items, keys->count, &fields);
        error = mongo_swap(session, MONGO_KEYS, KEYS_ID, keys->rev, NULL, &fields, lost);
    }
    bson_destroy(&fields);
    return error;
}

/* --- changes: each reads the keys, decides, and writes them. */
typedef enum err (*decide_fn)(struct keys *keys, const void *request);

static enum err change(struct store *store, decide_fn decide, const void *request,
                       struct arena *arena) {
    struct mongo_session session;
    struct keys keys;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    bool lost = true;
    for (unsigned i = 0; i < MONGO_RETRIES_MAX && lost; i++) {
        lost = false;
        error = read_keys(&session, arena, &keys);
        if (error == ERR_OK) {
            error = decide(&keys, request);
        }
        if (error == ERR_OK) {
            error = write_keys(&session, &keys, &lost);
        }
    }
    mongo_end(&session);
    return lost ? ERR_UNAVAILABLE : error;
}

static enum err put(struct keys *keys, const void *argument) {
    const Pipit__KeyPut *request = argument;
    size_t kept = 0;
    for (size_t i = 0; i < keys->count; i++) { /* nothing signed by a retired key is alive */
        if (live(keys->items[i], request->now_ms)) {
            keys->items[kept++] = keys->items[i];
        }
    }
    keys->count = kept;
    if (kept != request->expected_count) {
        return ERR_CONFLICT;
    }
    for (size_t i = 0; i < kept; i++) {
        if (strcmp(keys->items[i]->kid, request->key->kid) == 0) {
            return ERR_CONFLICT;
        }
    }
    keys->items[keys->count++] = request->key;
    return ERR_OK;
}

enum err mongo_key_put(struct store *store, const Pipit__KeyPut *request, struct arena *arena,
                       Pipit__StatusReply *reply) {
    (void)reply;
    const Pipit__SigningKey *key = request->key;
    if (key == NULL || !mongo_id_valid(key->kid) || key->x.len != COORDINATE_BYTES ||
        key->y.len != COORDINATE_BYTES || key->private_pem.len > STORE_TEXT_BYTES_MAX) {
        return ERR_INVALID;
    }
    return change(store, put, request, arena);
}

static enum err retire(struct keys *keys, const void *argument) {
    const Pipit__KeyRetire *request = argument;
    for (size_t i = 0; i < keys->count; i++) {
        if (strcmp(keys->items[i]->kid, request->kid) == 0) {
            keys->items[i]->retires_ms = request->retires_ms;
            return ERR_OK;
        }
    }
    return ERR_NOT_FOUND;
}

enum err mongo_key_retire(struct store *store, const Pipit__KeyRetire *request, struct arena *arena,
                          Pipit__StatusReply *reply) {
    (void)reply;
    return change(store, retire, request, arena);
}

/* --- listing */

static int compare(const void *left, const void *right) {
    const Pipit__SigningKey *a = *(Pipit__SigningKey *const *)left;
    const Pipit__SigningKey *b = *(Pipit__SigningKey *const *)right;
    if (a->created_ms != b->created_ms) {
        return a->created_ms < b->created_ms ? -1 : 1;
    }
    return strcmp(a->kid, b->kid);
}

enum err mongo_keys(struct store *store, const Pipit__KeysRequest *request, struct arena *arena,
                    Pipit__KeysReply *reply) {
    struct mongo_session session;
    struct keys keys;
    enum err error = mongo_begin(mongo_store_of(store)->db, &session);
    if (error != ERR_OK) {
        return error;
    }
    error = read_keys(&session, arena, &keys);
    mongo_end(&session);
    if (error != ERR_OK) {
        return error;
    }
    for (size_t i = 0; i < keys.count; i++) {
        if (!live(keys.items[i], request->now_ms)) {
            continue;
        }
        if (!request->with_private) {
            keys.items[i]->private_pem = (ProtobufCBinaryData){.len = 0};
        }
        keys.items[reply->n_keys++] = keys.items[i];
    }
    reply->keys = keys.items;
    qsort(reply->keys, reply->n_keys, sizeof(*reply->keys), compare);
    return ERR_OK;
}
