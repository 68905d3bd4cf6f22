/* mongo_fields: reading documents that may be of an older version, or damaged: whatever is missing
 * or of another type reads as nothing, and never as something else. Numbers may arrive as int32 or
 * double where a server or a person's shell rewrote them. */
#include "services/storage/mongo_db.h"

#include <string.h>

uint64_t mongo_u64(const bson_t *doc, const char *key) {
    bson_iter_t iter;
    if (!bson_iter_init_find(&iter, doc, key)) {
        return 0;
    }
    if (BSON_ITER_HOLDS_INT64(&iter)) {
        return (uint64_t)bson_iter_int64(&iter);
    }
    if (BSON_ITER_HOLDS_INT32(&iter)) {
        return (uint64_t)(int64_t)bson_iter_int32(&iter);
    }
    if (BSON_ITER_HOLDS_DOUBLE(&iter)) {
        double number = bson_iter_double(&iter);
        return number >= 0 && number < 9007199254740992.0 ? (uint64_t)number : 0; /* 2^53 */
    }
    return 0;
}

bool mongo_bool(const bson_t *doc, const char *key) {
    bson_iter_t iter;
    return bson_iter_init_find(&iter, doc, key) && BSON_ITER_HOLDS_BOOL(&iter) &&
           bson_iter_bool(&iter);
}

const char *mongo_peek(const bson_t *doc, const char *key) {
    bson_iter_t iter;
    if (!bson_iter_init_find(&iter, doc, key) || !BSON_ITER_HOLDS_UTF8(&iter)) {
        return "";
    }
    return bson_iter_utf8(&iter, NULL);
}

char *mongo_text(const bson_t *doc, const char *key, struct arena *arena) {
    const char *text = mongo_peek(doc, key);
    return arena_copy(arena, text, strlen(text)); /* ends at a NUL inside */
}

ProtobufCBinaryData mongo_peek_bytes(const bson_t *doc, const char *key) {
    bson_iter_t iter;
    ProtobufCBinaryData found = {0, NULL};
    if (bson_iter_init_find(&iter, doc, key) && BSON_ITER_HOLDS_BINARY(&iter)) {
        uint32_t count = 0;
        const uint8_t *bytes = NULL;
        bson_iter_binary(&iter, NULL, &count, &bytes);
        found.len = count;
        found.data = (uint8_t *)bytes; /* for reading alone; the type has no const */
    }
    return found;
}

enum err mongo_bytes(const bson_t *doc, const char *key, struct arena *arena,
                     ProtobufCBinaryData *out) {
    ProtobufCBinaryData found = mongo_peek_bytes(doc, key);
    uint8_t *copy =
        (uint8_t *)arena_copy(arena, found.data != NULL ? found.data : (uint8_t *)"", found.len);
    if (copy == NULL) {
        return ERR_NO_MEMORY;
    }
    *out = (ProtobufCBinaryData){found.len, copy};
    return ERR_OK;
}

bool mongo_document(const bson_t *doc, const char *key, bson_t *out) {
    bson_iter_t iter;
    if (!bson_iter_init_find(&iter, doc, key) || !BSON_ITER_HOLDS_DOCUMENT(&iter)) {
        return false;
    }
    uint32_t count = 0;
    const uint8_t *bytes = NULL;
    bson_iter_document(&iter, &count, &bytes);
    return bson_init_static(out, bytes, count);
}

enum err mongo_each(const bson_t *doc, const char *key,
                    enum err (*each)(const bson_t *item, void *user), void *user) {
    bson_iter_t iter;
    bson_iter_t item;
    if (!bson_iter_init_find(&iter, doc, key) || !BSON_ITER_HOLDS_ARRAY(&iter) ||
        !bson_iter_recurse(&iter, &item)) {
        return ERR_OK;
    }
    enum err error = ERR_OK;
    while (error == ERR_OK && bson_iter_next(&item)) {
        uint32_t count = 0;
        const uint8_t *bytes = NULL;
        bson_t element;
        if (BSON_ITER_HOLDS_DOCUMENT(&item)) {
            bson_iter_document(&item, &count, &bytes);
            if (bson_init_static(&element, bytes, count)) {
                error = each(&element, user);
            }
        }
    }
    return error;
}
