/* fuzz_json: any document; what passes is walked to its leaves, written anew and must pass again
 * with the same values. */
#include "proto/json_reader.h"
#include "proto/json_writer.h"
#include "proto/limits.h"
#include "tests/fuzz/fuzz_support.h"

static void rewrite_string(struct json_writer *writer, const struct json_value *value) {
    size_t bytes = json_string_bytes(value);
    char *text = malloc(bytes + 1);
    CONTRACT(text != NULL);
    if (json_string_copy(value, text, bytes + 1) == ERR_OK) {
        CONTRACT(json_string_is(value, text) || bytes > LIMIT_JSON_KEY_BYTES);
        json_write_string(writer, text, bytes);
    } else {
        json_write_text(writer, "contains NUL");
    }
    free(text);
}

static void rewrite(struct json_writer *writer, const struct json_value *value, unsigned depth) {
    struct json_iter iter;
    struct json_member member;
    struct json_value element, found;
    uint64_t number;
    CONTRACT(depth <= LIMIT_JSON_DEPTH);
    switch (value->kind) {
    case JSON_OBJECT:
        json_write_open(writer);
        for (json_iter_begin(&iter, value); json_next_member(&iter, &member);) {
            rewrite_string(writer, &member.key);
            writer->comma = false;
            json_write_raw(writer, ":", 1);
            writer->comma = false;
            rewrite(writer, &member.value, depth + 1);
        }
        json_write_close(writer);
        (void)json_find(value, "body", &found);
        break;
    case JSON_ARRAY:
        json_write_open_array(writer);
        for (json_iter_begin(&iter, value); json_next_element(&iter, &element);) {
            rewrite(writer, &element, depth + 1);
        }
        json_write_close_array(writer);
        break;
    case JSON_STRING:
        rewrite_string(writer, value);
        break;
    case JSON_NUMBER:
        if (json_u64(value, UINT64_MAX, &number) == ERR_OK) {
            json_write_u64(writer, number);
        } else {
            json_write_raw(writer, value->raw.bytes, value->raw.count);
        }
        break;
    default:
        json_write_raw(writer, value->raw.bytes, value->raw.count);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = fuzz_copy(data, size);
    struct json_value root, again;
    struct json_problem problem = {0};
    enum err error = json_parse(bytes, size, &root, &problem);
    if (error == ERR_OK) {
        struct buf out;
        struct json_writer writer;
        fuzz_inside(root.raw, bytes, size);
        buf_init(&out, 16u << 20);
        json_write_begin(&writer, &out, 16);
        rewrite(&writer, &root, 1);
        CONTRACT(json_write_end(&writer) == ERR_OK);
        error = json_parse(buf_data(&out), buf_len(&out), &again, &problem);
        CONTRACT(error == ERR_OK && again.kind == root.kind);
        buf_finish(&out);
    } else {
        CONTRACT(problem.text != NULL && problem.offset <= size);
    }
    free(bytes);
    return 0;
}
