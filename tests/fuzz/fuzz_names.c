/* fuzz_names: names and UTF-8: the checks agree with each other, and validation in pieces with the
 * whole. */
#include "proto/names.h"
#include "proto/utf8.h"
#include "tests/fuzz/fuzz_support.h"

static bool valid_by_decoding(const uint8_t *bytes, size_t size) {
    size_t at = 0, length = 1;
    uint32_t code_point;
    while (at < size && (length = utf8_decode(bytes + at, size - at, &code_point)) > 0) {
        uint8_t back[4];
        CONTRACT(utf8_encode(code_point, back) == length && memcmp(back, bytes + at, length) == 0);
        at += length;
    }
    return at == size;
}

static bool valid_in_pieces(const uint8_t *bytes, size_t size, size_t piece) {
    struct utf8_state state = {0};
    for (size_t at = 0; at < size; at += piece) {
        if (!utf8_feed(&state, bytes + at, size - at < piece ? size - at : piece)) {
            return false;
        }
    }
    return utf8_complete(&state);
}

static void try_ids(const char *text, size_t size) {
    char user[LIMIT_USER_ID_BYTES + 1], conversation[LIMIT_CONVERSATION_ID_BYTES + 1];
    char direct[LIMIT_CONVERSATION_ID_BYTES + 1];
    if (names_user_id_accept(text, size, user) == ERR_OK) {
        CONTRACT(names_user_id_valid(user, strlen(user)));
        CONTRACT(names_user_id_valid(text, size) || names_user_name_valid(text, size));
        CONTRACT(names_direct_conversation(user, "u_x", direct) == ERR_OK);
        CONTRACT(names_is_direct(direct, strlen(direct)) &&
                 names_conversation_id_valid(direct, strlen(direct)));
    } else {
        CONTRACT(!names_user_id_valid(text, size) && !names_user_name_valid(text, size));
    }
    if (names_conversation_id_accept(text, size, conversation) == ERR_OK) {
        CONTRACT(names_conversation_id_valid(conversation, strlen(conversation)));
    } else {
        CONTRACT(!names_conversation_id_valid(text, size));
    }
    if (names_group_id_valid(text, size)) {
        CONTRACT(names_conversation_id_valid(text, size) && !names_is_direct(text, size));
    }
    (void)names_device_id_valid(text, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = fuzz_copy(data, size);
    bool is_valid = utf8_valid(bytes, size);
    CONTRACT(is_valid == valid_by_decoding(bytes, size));
    for (size_t piece = 1; piece <= 9; piece += 2) {
        CONTRACT(is_valid == valid_in_pieces(bytes, size, piece));
    }
    try_ids((const char *)bytes, size);
    CONTRACT(is_valid || !names_emoji_valid((const char *)bytes, size));
    CONTRACT(is_valid || !names_label_valid((const char *)bytes, size, SIZE_MAX));
    free(bytes);
    return 0;
}
