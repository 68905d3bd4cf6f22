/* openapi: YAML for people, JSON for tools, from the same source (scripts/openapi-json.py makes the
 * second, a test compares them). Read once at start, so serving never touches the disk. */
#include "services/auth/openapi.h"

#include "common/log.h"
#include "common/mem.h"
#include "services/auth/call.h"
#include "services/auth/handlers.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES_MAX 4096

static enum err read_all(FILE *file, struct buf *out) {
    uint8_t *room = NULL;
    enum err error = ERR_OK;
    size_t count = 1;
    while (error == ERR_OK && count > 0) {
        error = buf_reserve(out, 65536, &room);
        if (error == ERR_OK) {
            count = fread(room, 1, 65536, file);
            buf_commit(out, count);
        }
    }
    return error == ERR_OK && ferror(file) != 0 ? ERR_IO : error;
}

static enum err read_file(const char *path, struct buf *out) {
    FILE *file = fopen(path, "re");
    enum err error = file != NULL ? read_all(file, out) : err_from_errno(errno);
    if (file != NULL) {
        (void)fclose(file); /* only read from */
    }
    if (error != ERR_OK) {
        buf_finish(out);
        buf_init(out, OPENAPI_BYTES_MAX);
        log_event(LOG_WARN, "the API's description is not served", F_TEXT("file", path),
                  F_ERR(error));
    }
    return error == ERR_NO_MEMORY ? error : ERR_OK;
}

/* "x.yaml" -> "x.json". False: too long. */
static bool sibling(const char *yaml_path, char path[PATH_BYTES_MAX]) {
    size_t length = strlen(yaml_path);
    size_t stem = length >= 5 && strcmp(yaml_path + length - 5, ".yaml") == 0 ? length - 5 : length;
    if (stem + 6 > PATH_BYTES_MAX) {
        return false;
    }
    memcpy(path, yaml_path, stem);
    memcpy(path + stem, ".json", 6);
    return true;
}

enum err openapi_load(const char *yaml_path, struct openapi **out) {
    char json_path[PATH_BYTES_MAX];
    struct openapi *openapi = mem_zalloc(1, sizeof *openapi);
    if (openapi == NULL) {
        return ERR_NO_MEMORY;
    }
    buf_init(&openapi->yaml, OPENAPI_BYTES_MAX);
    buf_init(&openapi->json, OPENAPI_BYTES_MAX);
    enum err error = yaml_path[0] != '\0' ? read_file(yaml_path, &openapi->yaml) : ERR_OK;
    if (error == ERR_OK && yaml_path[0] != '\0' && sibling(yaml_path, json_path)) {
        error = read_file(json_path, &openapi->json);
    }
    if (error != ERR_OK) {
        openapi_destroy(&openapi);
        return error;
    }
    *out = openapi;
    return ERR_OK;
}

void openapi_destroy(struct openapi **openapi) {
    if (*openapi != NULL) {
        buf_finish(&(*openapi)->yaml);
        buf_finish(&(*openapi)->json);
        mem_free(*openapi);
        *openapi = NULL;
    }
}

static void serve(struct call *call, const struct buf *text, const char *type) {
    if (buf_len(text) == 0) {
        (void)call_fail(call, REASON_NOT_FOUND, 0, "The description is not installed.");
        return;
    }
    call_header(call, "Cache-Control", "public, max-age=300");
    call_answer_bytes(call, type, buf_data(text), buf_len(text));
}

void openapi_yaml(struct call *call) {
    serve(call, &call->auth->openapi->yaml, "application/yaml"); /* RFC 9512 */
}

void openapi_json(struct call *call) {
    serve(call, &call->auth->openapi->json, "application/json");
}
