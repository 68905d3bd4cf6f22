/* wellknown: what a client must know before it can log in: every address and limit, and the public
 * keys. Addresses that are not configured are derived from the Host header of the request, so that
 * a server on a home network needs no setting; the header is used only when it looks like a host,
 * and an answer made from it is not cacheable. */
#include "common/clock.h"
#include "services/auth/call.h"
#include "services/auth/handlers.h"
#include "services/auth/password.h"
#include <stdio.h>
#include <string.h>

#define HOST_BYTES 256
#define URL_BYTES 320
#define WS_PORT 8083
#define MQTT_PORT 1883

/* The host of the request without its port, or "localhost". */
static void request_host(const struct call *call, char host[HOST_BYTES]) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]";
    const char *header = http_header(call->http, "Host");
    size_t length = header != NULL ? strlen(header) : 0;
    if (length == 0 || length >= HOST_BYTES || strspn(header, allowed) != length) {
        header = "localhost";
        length = strlen(header);
    }
    memcpy(host, header, length + 1);
    char *bracket = strrchr(host, ']');
    char *colon = strchr(bracket != NULL ? bracket : host, ':');
    if (colon != NULL) {
        *colon = '\0';
    }
}

static void write_address(struct json_writer *json, const char *key, const char *configured,
                          const char *host, const char *scheme, int port, const char *path) {
    char url[URL_BYTES];
    if (configured[0] == '\0') {
        (void)snprintf(url, sizeof url, "%s://%.255s:%d%s", scheme, host, port, path);
        configured = url;
    }
    json_write_key_text(json, key, configured);
}

static void write_limits(struct json_writer *json, const struct auth_settings *settings) {
    json_write_open(json);
    json_write_key_u64(json, "request_bytes", settings->body_bytes_max);
    json_write_key_u64(json, "text_bytes", LIMIT_TEXT_BYTES);
    json_write_key_u64(json, "body_bytes", LIMIT_BODY_BYTES);
    json_write_key_u64(json, "title_bytes", LIMIT_TITLE_BYTES);
    json_write_key_u64(json, "emoji_bytes", LIMIT_EMOJI_BYTES);
    json_write_key_u64(json, "user_name_bytes", LIMIT_USER_NAME_BYTES);
    json_write_key_u64(json, "password_characters_min", PASSWORD_POINTS_MIN);
    json_write_key_u64(json, "password_characters_max", PASSWORD_POINTS_MAX);
    json_write_key_u64(json, "devices", settings->devices_max);
    json_write_key_u64(json, "page_items", 100);
    json_write_key_u64(json, "message_id_window_ms", LIMIT_ID_WINDOW_MS);
    json_write_close(json);
}

void wellknown_pipit(struct call *call) {
    const struct auth_settings *settings = call->auth->settings;
    char host[HOST_BYTES];
    request_host(call, host);
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key_text(json, "name", settings->server_name);
    json_write_key_text(json, "version", PIPIT_VERSION);
    json_write_key_text(json, "api", "/v1");
    json_write_key_text(json, "openapi", "/v1/openapi.json");
    json_write_key_text(json, "jwks", "/.well-known/jwks.json");
    write_address(json, "ws", settings->ws_url, host, "ws", WS_PORT, "/v1/ws");
    write_address(json, "mqtt", settings->mqtt_url, host, "mqtt", MQTT_PORT, "");
    json_write_key(json, "login_methods");
    json_write_open_array(json);
    json_write_text(json, "password");
    json_write_close_array(json);
    json_write_key_text(json, "registration", settings->open_registration ? "open" : "invite");
    json_write_key_time(json, "time", clock_wall_ms());
    json_write_key(json, "limits");
    write_limits(json, settings);
    json_write_close(json);
}

void wellknown_jwks(struct call *call) {
    if (!key_ring_ready(call->auth->keys)) {
        (void)call_fail_err(call, ERR_UNAVAILABLE);
        return;
    }
    call_header(call, "Cache-Control", "public, max-age=300");
    call->status = 200;
    call->type = "application/jwk-set+json"; /* RFC 7517 section 8.5.2 */
    if (!call_check(call, key_ring_jwks(call->auth->keys, &call->out))) {
        return;
    }
}
