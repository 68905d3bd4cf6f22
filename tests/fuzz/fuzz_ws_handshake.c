/* fuzz_ws_handshake: the opening handshake and the judgement of origins. */
#include "proto/ws_handshake.h"
#include "tests/fuzz/fuzz_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = fuzz_copy(data, size);
    struct ws_handshake handshake;
    int status = 0;
    enum err error = ws_handshake_parse(bytes, size, &handshake, &status);
    if (error == ERR_OK) {
        CONTRACT(status == 0 && handshake.head_bytes <= size && handshake.host.count > 0);
        fuzz_inside(handshake.path, bytes, size);
        fuzz_inside(handshake.host, bytes, size);
        fuzz_inside(handshake.origin, bytes, size);
        fuzz_inside(handshake.user_agent, bytes, size);
        (void)ws_origin_allowed(handshake.origin, handshake.host, "");
        (void)ws_origin_allowed(handshake.origin, handshake.host,
                                "https://a.example, http://b:8080");
    } else {
        CONTRACT(error == ERR_MORE || status >= 400);
        CONTRACT(error != ERR_MORE || size < LIMIT_HTTP_HEAD_BYTES);
        (void)ws_origin_allowed(slice_make(bytes, size), slice_make(bytes, size / 2), "");
    }
    free(bytes);
    return 0;
}
