/* mongo_error: what an error of libmongoc or of the server means for Pipit. */
#ifndef PIPIT_STORAGE_MONGO_ERROR_H
#define PIPIT_STORAGE_MONGO_ERROR_H

#include "common/err.h"
#include <bson/bson.h>

enum mongo_trouble {
    MONGO_TROUBLE_NONE,        /* one call's own matter */
    MONGO_TROUBLE_UNREACHABLE, /* no server, no primary, or it is going away */
    MONGO_TROUBLE_WRITES       /* it answers, but writes cannot be made durable */
};

/* ERR_EXISTS: a unique index. ERR_UNAVAILABLE: outcome unknown or refused for now. ERR_NO_SPACE.
 * ERR_INVALID: the document cannot be stored. Otherwise ERR_IO. Expects libmongoc's error API 2. */
enum err mongo_error(const bson_error_t *error, enum mongo_trouble *trouble) MUST_CHECK;
/* The same for a code of the server with its message. */
enum err mongo_server_error(int32_t code, const char *message,
                            enum mongo_trouble *trouble) MUST_CHECK;

#endif
