/* test_ws_frame: framing after the categories of the Autobahn suite that apply to a text-only
 * server (1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragmentation, 6 UTF-8, 7 close, 9
 * limits), every way to cut a stream, and memory that is given back. */
#include "proto/ws_frame.h"

#include "common/mem.h"
#include "tests/unit/proto/support.h"
#include <stdio.h>

#define LIMIT 65536u
static const uint8_t mask[4] = {0x37, 0xFA, 0x21, 0x3D};

/* A client's frame with any first byte; count bytes of payload, masked. Returns its size. */
static size_t put_frame(uint8_t *at, uint8_t first, const void *payload, size_t count) {
    uint8_t header[WS_HEADER_BYTES_MAX];
    size_t header_bytes = ws_header(header, WS_TEXT, count, mask);
    memcpy(at, header, header_bytes);
    at[0] = first;
    if (count > 0) {
        memcpy(at + header_bytes, payload, count);
    }
    ws_mask(at + header_bytes, count, mask, 0);
    return header_bytes + count;
}

struct stream {
    uint8_t bytes[300000];
    size_t count;
};
static struct stream stream;

static void add(uint8_t first, const void *payload, size_t count) {
    stream.count += put_frame(stream.bytes + stream.count, first, payload, count);
}
static void add_text(uint8_t first, const char *text) {
    add(first, text, strlen(text));
}

/* What a reader made of a stream: "T:hello P: C1000:bye -F ..." and the reason of a failure. */
struct story {
    char text[400000];
    size_t at;
    enum err error;
    enum reason reason;
};
static struct story story;

static void tell(const struct ws_event *event) {
    char *at = story.text + story.at;
    switch (event->opcode) {
    case WS_TEXT:
        at = stpcpy(at, "T:");
        break;
    case WS_CONTINUATION:
        at = stpcpy(at, "F");
        break;
    case WS_PING:
        at = stpcpy(at, "P:");
        break;
    case WS_PONG:
        at = stpcpy(at, "O:");
        break;
    default:
        at += sprintf(at, "C%u:", event->close_code);
        break;
    }
    if (event->payload.count > 0) {
        memcpy(at, event->payload.bytes, event->payload.count);
    }
    at += event->payload.count;
    strcpy(at, " ");
    story.at = (size_t)(at - story.text) + 1;
}

/* Feeds the stream in pieces of `piece` bytes the way a connection does: bytes that make no whole
 * frame are kept and grow; whole frames are dropped from the front. Exact-size blocks throughout.
 */
static void play(size_t piece) {
    struct ws_reader reader;
    uint8_t *kept = support_copy(NULL, 0);
    size_t kept_bytes = 0, fed = 0;
    story = (struct story){.error = ERR_MORE};
    ws_reader_init(&reader, LIMIT, true);
    while (fed < stream.count && story.error == ERR_MORE) {
        size_t take = stream.count - fed < piece ? stream.count - fed : piece;
        uint8_t *grown = malloc(kept_bytes + take);
        memcpy(grown, kept, kept_bytes);
        memcpy(grown + kept_bytes, stream.bytes + fed, take);
        free(kept);
        kept = grown;
        kept_bytes += take;
        fed += take;
        struct ws_event event;
        while ((story.error = ws_read(&reader, kept, kept_bytes, &event, &story.reason)) ==
               ERR_OK) {
            tell(&event);
            assert_true(event.frame_bytes <= kept_bytes);
            kept_bytes -= event.frame_bytes;
            memmove(kept, kept + event.frame_bytes, kept_bytes);
            if (event.opcode == WS_CLOSE) {
                break;
            }
        }
        if (story.error == ERR_MORE) {
            assert_true(event.frame_bytes > kept_bytes);
        }
    }
    ws_reader_finish(&reader);
    free(kept);
}

/* The same story however the stream is cut. */
static void expect(const char *text, enum err error, enum reason reason) {
    static const size_t pieces[] = {1, 2, 3, 7, 8, 64, 1000, SIZE_MAX};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        play(pieces[i]);
        assert_string_equal(story.text, text);
        assert_int_equal(story.error, error);
        if (error == ERR_INVALID) {
            assert_int_equal(story.reason, reason);
        }
    }
    stream.count = 0;
}
#define EXPECT_OK(text) expect((text), ERR_MORE, REASON_OK)
#define EXPECT_CLOSE(text) expect((text), ERR_OK, REASON_OK)
#define EXPECT_FAIL(text, reason) expect((text), ERR_INVALID, (reason))

static void example_of_the_rfc(void **state) {
    (void)state;
    static const uint8_t hello[] = {0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D,
                                    0x7F, 0x9F, 0x4D, 0x51, 0x58};
    memcpy(stream.bytes, hello, sizeof hello);
    stream.count = sizeof hello;
    EXPECT_OK("T:Hello ");
}

static void sizes_of_text(void **state) { /* Autobahn 1.1, 9 */
    (void)state;
    static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 255, 256, 65534, 65535, 65536};
    char *text = malloc(LIMIT + 8);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memcpy(text, "T:", 2);
        memset(text + 2, '*', sizes[i]);
        add(0x81, text + 2, sizes[i]);
        strcpy(text + 2 + sizes[i], " ");
        EXPECT_OK(text);
    }
    free(text);
}

static void limits_are_told_by_the_header(void **state) {
    (void)state;
    uint8_t frame[14] = {0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1}; /* 65,537 bytes announced */
    memcpy(stream.bytes, frame, 10);
    stream.count = 10; /* not even the mask has arrived */
    EXPECT_FAIL("", REASON_TOO_LARGE);
    static const uint8_t huge[10] = {0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    memcpy(stream.bytes, huge, 10);
    stream.count = 10;
    EXPECT_FAIL("", REASON_TOO_LARGE);
    static const uint8_t negative[10] = {0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0};
    memcpy(stream.bytes, negative, 10);
    stream.count = 10;
    EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
}

static void fragments_add_up_to_the_limit(void **state) {
    (void)state;
    char *text = malloc(LIMIT);
    memset(text, 'x', LIMIT);
    add(0x01, text, 40000);
    add(0x80, text, 25536);
    play(SIZE_MAX);
    assert_int_equal(story.error, ERR_MORE);
    assert_int_equal(strlen(story.text), strlen("F T: ") + LIMIT);
    stream.count = 0;
    add(0x01, text, 40000);
    add(0x80, text, 25537);
    EXPECT_FAIL("F ", REASON_TOO_LARGE);
    free(text);
}

static void pings_and_pongs(void **state) { /* Autobahn 2 */
    (void)state;
    char text[125];
    memset(text, 'p', sizeof text);
    add_text(0x89, "");
    add_text(0x89, "hello");
    add_text(0x8A, "unasked");
    add(0x89, "\x00\xFF\xFE", 3); /* any bytes */
    EXPECT_OK("P: P:hello O:unasked P:");
    add(0x89, text, 125);
    play(SIZE_MAX);
    assert_int_equal(story.error, ERR_MORE);
    stream.count = 0;
    add(0x89, text, 125);
    stream.bytes[1] = 0xFE; /* 126: an extended length in a control frame */
    EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
    add_text(0x09, "x"); /* fragmented */
    EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
}

static void reserved_bits_and_opcodes(void **state) { /* Autobahn 3, 4 */
    (void)state;
    static const uint8_t firsts[] = {0xC1, 0xA1, 0x91, 0xF1, 0xC9, 0xC8, 0x83, 0x84, 0x85,
                                     0x86, 0x87, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x03, 0x0B};
    for (size_t i = 0; i < sizeof firsts; i++) {
        add_text(0x81, "before");
        add_text(firsts[i], "x");
        EXPECT_FAIL("T:before ", REASON_PROTOCOL_ERROR);
    }
    add_text(0x82, "binary");
    EXPECT_FAIL("", REASON_UNSUPPORTED);
    add_text(0x02, "binary");
    EXPECT_FAIL("", REASON_UNSUPPORTED);
}

static void masks_are_required(void **state) {
    (void)state;
    stream.bytes[0] = 0x81;
    stream.bytes[1] = 0x01;
    stream.bytes[2] = 'x';
    stream.count = 3;
    EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
    /* And refused by a client. */
    struct ws_reader reader;
    struct ws_event event;
    enum reason reason;
    uint8_t frame[16];
    ws_reader_init(&reader, LIMIT, false);
    size_t count = put_frame(frame, 0x81, "x", 1);
    assert_int_equal(ws_read(&reader, frame, count, &event, &reason), ERR_INVALID);
    memcpy(frame, "\x81\x02hi", 4);
    ws_reader_init(&reader, LIMIT, false);
    assert_int_equal(ws_read(&reader, frame, 4, &event, &reason), ERR_OK);
    support_expect_slice(event.payload, "hi");
    ws_reader_finish(&reader);
}

static void lengths_are_minimal(void **state) {
    (void)state;
    static const uint8_t frames[][14] = {{0x81, 0xFE, 0, 125},
                                         {0x81, 0xFE, 0, 0},
                                         {0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF},
                                         {0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5}};
    for (size_t i = 0; i < 4; i++) {
        memcpy(stream.bytes, frames[i], 14);
        stream.count = 14;
        EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
    }
}

static void fragments(void **state) { /* Autobahn 5 */
    (void)state;
    add_text(0x01, "frag1");
    add_text(0x80, "frag2");
    EXPECT_OK("F T:frag1frag2 ");
    add_text(0x01, "frag1");
    add_text(0x89, "ping");
    add_text(0x00, "frag2");
    add_text(0x8A, "pong");
    add_text(0x80, "frag3");
    add_text(0x81, "next");
    EXPECT_OK("F P:ping F O:pong T:frag1frag2frag3 T:next ");
    add_text(0x01, "");
    add_text(0x00, "");
    add_text(0x80, "");
    EXPECT_OK("F F T: ");
    add_text(0x01, "");
    add_text(0x00, "middle");
    add_text(0x80, "");
    EXPECT_OK("F F T:middle ");
    add_text(0x80, "nothing to continue");
    EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
    add_text(0x00, "nothing to continue");
    EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
    add_text(0x81, "whole");
    add_text(0x80, "nothing to continue");
    EXPECT_FAIL("T:whole ", REASON_PROTOCOL_ERROR);
    add_text(0x01, "frag1");
    add_text(0x81, "not a continuation");
    EXPECT_FAIL("F ", REASON_PROTOCOL_ERROR);
    add_text(0x01, "frag1");
    add_text(0x82, "binary between");
    EXPECT_FAIL("F ", REASON_PROTOCOL_ERROR);
}

static void text_is_utf8(void **state) { /* Autobahn 6 */
    (void)state;
    static const char text[] = "κόσμε-日本-\xF0\x9F\x98\x80";
    char told[64];
    for (size_t cut = 0; cut <= strlen(text); cut++) { /* a fragment may end inside a character */
        add(0x01, text, cut);
        add(0x80, text + cut, strlen(text) - cut);
        sprintf(told, "F T:%s ", text);
        EXPECT_OK(told);
    }
    static const char *const bad[] = {"\x80",     "a\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                                      "\xE6\x97", "ok \xFF"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        add_text(0x81, bad[i]);
        EXPECT_FAIL("", REASON_BAD_UTF8);
        add_text(0x01, bad[i]);
        add_text(0x80, "");
        play(SIZE_MAX);
        assert_int_equal(story.error, ERR_INVALID);
        assert_int_equal(story.reason, REASON_BAD_UTF8);
        stream.count = 0;
    }
    add_text(0x01, "\xE6"); /* begun in one message, ended in the next: no */
    add_text(0x80, "\x97");
    EXPECT_FAIL("F ", REASON_BAD_UTF8);
}

static void bad_text_fails_before_its_frame_is_whole(void **state) { /* Autobahn 6.4 */
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof text);
    memcpy(text + 4, "\xF4\x90", 2);
    add(0x81, text, sizeof text);
    stream.count = 8 + 5; /* header and five bytes */
    play(1);
    assert_int_equal(story.error, ERR_MORE);
    stream.count = 8 + 6; /* the byte that is wrong */
    play(1);
    assert_int_equal(story.error, ERR_INVALID);
    assert_int_equal(story.reason, REASON_BAD_UTF8);
    stream.count = 0;
}

static void add_close(unsigned code, const char *text) {
    uint8_t payload[130] = {(uint8_t)(code >> 8), (uint8_t)code};
    memcpy(payload + 2, text, strlen(text));
    add(0x88, payload, 2 + strlen(text));
}

static void closes(void **state) { /* Autobahn 7 */
    (void)state;
    static const unsigned valid[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                     1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    static const unsigned invalid[] = {0,    1,    999,  1004, 1005, 1006, 1015,
                                       1016, 1100, 2000, 2999, 5000, 65535};
    char told[200];
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++) {
        add_close(valid[i], "bye");
        add_text(0x81, "ignored");
        sprintf(told, "C%u:bye ", valid[i]);
        EXPECT_CLOSE(told);
    }
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++) {
        add_close(invalid[i], "");
        EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
    }
    add_text(0x88, "");
    EXPECT_CLOSE("C1005: ");
    add_text(0x88, "x");
    EXPECT_FAIL("", REASON_PROTOCOL_ERROR);
    add_close(1000, "\xCE\xBA\xE1\xBD");
    EXPECT_FAIL("", REASON_BAD_UTF8);
    char longest[124];
    memset(longest, 'z', 123);
    longest[123] = '\0';
    add_close(1000, longest);
    sprintf(told, "C1000:%s ", longest);
    EXPECT_CLOSE(told);
    add_text(0x01, "in the middle");
    add_close(1001, "");
    EXPECT_CLOSE("F C1001: ");
}

static void idle_readers_hold_no_memory(void **state) {
    (void)state;
    struct ws_reader reader;
    struct ws_event event;
    enum reason reason;
    uint8_t frame[64];
    ws_reader_init(&reader, LIMIT, true);
    (void)mem_fault_set(0, 0);
    size_t count = put_frame(frame, 0x81, "whole", 5);
    assert_int_equal(ws_read(&reader, frame, count, &event, &reason), ERR_OK);
    assert_int_equal(mem_fault_set(0, 0), 0); /* nothing allocated */
    count = put_frame(frame, 0x01, "one", 3);
    assert_int_equal(ws_read(&reader, frame, count, &event, &reason), ERR_OK);
    assert_non_null(reader.message);
    count = put_frame(frame, 0x80, "two", 3);
    assert_int_equal(ws_read(&reader, frame, count, &event, &reason), ERR_OK);
    support_expect_slice(event.payload, "onetwo");
    assert_int_equal(ws_read(&reader, frame, 0, &event, &reason), ERR_MORE);
    assert_null(reader.message);
    ws_reader_finish(&reader);
    ws_reader_finish(&reader); /* harmless */
}

static void short_memory_ends_the_connection(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 2; nth++) { /* the buffer's struct, its bytes */
        struct ws_reader reader;
        struct ws_event event;
        enum reason reason = REASON_OK;
        uint8_t frame[64];
        ws_reader_init(&reader, LIMIT, true);
        size_t count = put_frame(frame, 0x01, "one", 3);
        (void)mem_fault_set(nth, 1);
        assert_int_equal(ws_read(&reader, frame, count, &event, &reason), ERR_INVALID);
        (void)mem_fault_set(0, 0);
        assert_int_equal(reason, REASON_OVERLOAD);
        ws_reader_finish(&reader);
    }
}

static void random_streams_stay_inside(void **state) {
    (void)state;
    uint64_t seed = 11;
    for (int round = 0; round < 2000; round++) {
        for (int frame = 0; frame < 4; frame++) {
            uint8_t payload[32];
            size_t count = support_random(&seed) % sizeof payload;
            for (size_t i = 0; i < count; i++) {
                payload[i] = (uint8_t)(support_random(&seed) % 128);
            }
            static const uint8_t firsts[] = {0x81, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88, 0x82};
            add(firsts[support_random(&seed) % sizeof firsts], payload, count);
        }
        if (round % 2 == 0) {
            stream.bytes[support_random(&seed) % stream.count] = (uint8_t)support_random(&seed);
        }
        play(1 + support_random(&seed) % 16);
        enum err error = story.error;
        size_t told = story.at;
        play(SIZE_MAX);
        assert_int_equal(story.error, error); /* cuts do not matter */
        assert_int_equal(story.at, told);
        stream.count = 0;
    }
}

static void mask_is_its_own_inverse(void **state) {
    (void)state;
    for (size_t count = 0; count < 40; count++) {
        for (size_t offset = 0; offset < 4; offset++) {
            uint8_t plain[40], expected[40];
            for (size_t i = 0; i < count; i++) {
                plain[i] = (uint8_t)(i * 7);
                expected[i] = plain[i] ^ mask[(offset + i) % 4];
            }
            uint8_t *bytes = support_copy(plain, count);
            ws_mask(bytes, count, mask, offset);
            assert_memory_equal(bytes, expected, count);
            ws_mask(bytes, count, mask, offset);
            assert_memory_equal(bytes, plain, count);
            free(bytes);
        }
    }
}

static void headers_are_minimal(void **state) {
    (void)state;
    static const struct {
        size_t payload, bytes;
        uint8_t expected[10];
    } cases[] = {{0, 2, {0x81, 0}},
                 {125, 2, {0x81, 125}},
                 {126, 4, {0x81, 126, 0, 126}},
                 {65535, 4, {0x81, 126, 0xFF, 0xFF}},
                 {65536, 10, {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}}};
    for (size_t i = 0; i < 5; i++) {
        uint8_t header[WS_HEADER_BYTES_MAX];
        assert_int_equal(ws_header(header, WS_TEXT, cases[i].payload, NULL), cases[i].bytes);
        assert_memory_equal(header, cases[i].expected, cases[i].bytes);
        assert_int_equal(ws_header(header, WS_TEXT, cases[i].payload, mask), cases[i].bytes + 4);
        assert_int_equal(header[1], cases[i].expected[1] | 0x80);
        assert_memory_equal(header + cases[i].bytes, mask, 4);
    }
}

static void server_frames_are_appended(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 40);
    assert_int_equal(ws_append(&out, WS_TEXT, "hi", 2), ERR_OK);
    assert_int_equal(ws_append(&out, WS_PONG, NULL, 0), ERR_OK);
    assert_int_equal(ws_append_close_echo(&out, 1000), ERR_OK);
    assert_int_equal(ws_append_close_echo(&out, 1005), ERR_OK);
    support_expect_bytes(&out, "\x81\x02hi\x8A\x00\x88\x02\x03\xE8\x88\x00", 12);
    assert_int_equal(ws_append_close(&out, REASON_DRAIN), ERR_OK);
    support_expect_bytes(&out,
                         "\x88\x07\x03\xF4"
                         "drain",
                         9);
    uint8_t much[40] = {0};
    assert_int_equal(ws_append(&out, WS_TEXT, much, 39), ERR_TOO_LARGE);
    assert_int_equal(buf_len(&out), 0);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_of_the_rfc),
        cmocka_unit_test(sizes_of_text),
        cmocka_unit_test(limits_are_told_by_the_header),
        cmocka_unit_test(fragments_add_up_to_the_limit),
        cmocka_unit_test(pings_and_pongs),
        cmocka_unit_test(reserved_bits_and_opcodes),
        cmocka_unit_test(masks_are_required),
        cmocka_unit_test(lengths_are_minimal),
        cmocka_unit_test(fragments),
        cmocka_unit_test(text_is_utf8),
        cmocka_unit_test(bad_text_fails_before_its_frame_is_whole),
        cmocka_unit_test(closes),
        cmocka_unit_test(idle_readers_hold_no_memory),
        cmocka_unit_test(short_memory_ends_the_connection),
        cmocka_unit_test(random_streams_stay_inside),
        cmocka_unit_test(mask_is_its_own_inverse),
        cmocka_unit_test(headers_are_minimal),
        cmocka_unit_test(server_frames_are_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
