/* text_limit: proto's decoders know the largest text there may be (LIMIT_TEXT_BYTES); an operator
 * may set less. Only then, and only when the whole body is longer than that, is the body looked at
 * again. */
#include "services/connection/text_limit.h"

#include "proto/json_reader.h"
#include "proto/limits.h"

enum reason text_limit_check(struct slice body, uint64_t text_bytes_max) {
    struct json_value root;
    struct json_value text;
    if (text_bytes_max >= LIMIT_TEXT_BYTES || body.count <= text_bytes_max) {
        return REASON_OK;
    }
    if (json_parse(body.bytes, body.count, &root, NULL) != ERR_OK || root.kind != JSON_OBJECT) {
        return REASON_MALFORMED;
    }
    return json_find(&root, "text", &text) && text.kind == JSON_STRING &&
                   json_string_bytes(&text) > text_bytes_max
               ? REASON_TOO_LARGE
               : REASON_OK;
}
