/* fuzz_ws_frame: a stream of frames, once whole and once in pieces: both must tell the same story.
 * The first byte chooses the size of the pieces, the second the role. */
#include "proto/ws_frame.h"
#include "tests/fuzz/fuzz_support.h"

#define MESSAGE_BYTES_MAX 4096

struct story {
    uint64_t hash;
    enum err error;
    enum reason reason;
};

static void tell(struct story *story, const struct ws_event *event) {
    story->hash = (story->hash ^ event->opcode ^ event->close_code) * UINT64_C(0x100000001B3);
    for (size_t i = 0; i < event->payload.count; i++) {
        story->hash = (story->hash ^ event->payload.bytes[i]) * UINT64_C(0x100000001B3);
    }
    if (event->opcode == WS_TEXT) {
        CONTRACT(utf8_valid(event->payload.bytes, event->payload.count));
        CONTRACT(event->payload.count <= MESSAGE_BYTES_MAX);
    }
}

static struct story play(const uint8_t *data, size_t size, size_t piece, bool expects_mask) {
    struct ws_reader reader;
    struct story story = {
        .hash = UINT64_C(0xCBF29CE484222325), .error = ERR_MORE, .reason = REASON_OK};
    uint8_t *kept = fuzz_copy(NULL, 0);
    size_t kept_bytes = 0, fed = 0;
    ws_reader_init(&reader, MESSAGE_BYTES_MAX, expects_mask);
    while (fed < size && story.error == ERR_MORE) {
        size_t take = size - fed < piece ? size - fed : piece;
        uint8_t *grown = malloc(kept_bytes + take); /* exactly what has arrived */
        CONTRACT(grown != NULL);
        if (kept_bytes > 0) {
            memcpy(grown, kept, kept_bytes);
        }
        memcpy(grown + kept_bytes, data + fed, take);
        free(kept);
        kept = grown;
        kept_bytes += take;
        fed += take;
        size_t at = 0;
        struct ws_event event;
        while ((story.error = ws_read(&reader, kept + at, kept_bytes - at, &event,
                                      &story.reason)) == ERR_OK) {
            CONTRACT(event.frame_bytes <= kept_bytes - at);
            tell(&story, &event);
            at += event.frame_bytes;
            if (event.opcode == WS_CLOSE) {
                break;
            }
        }
        if (story.error == ERR_MORE) {
            CONTRACT(event.frame_bytes > kept_bytes - at);
        }
        kept_bytes -= at;
        memmove(kept, kept + at, kept_bytes);
    }
    ws_reader_finish(&reader);
    free(kept);
    return story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    bool expects_mask = data[1] % 4 != 0;
    struct story whole = play(data + 2, size - 2, SIZE_MAX, expects_mask);
    struct story pieces = play(data + 2, size - 2, 1 + data[0] % 32, expects_mask);
    CONTRACT(whole.hash == pieces.hash && whole.error == pieces.error);
    CONTRACT(whole.error != ERR_INVALID || whole.reason == pieces.reason);
    return 0;
}
