/* devices: where a user is logged in, and how to end that from anywhere (ASVS 5.0 V7.5.2). */
#include "services/auth/handlers.h"
#include "services/auth/sessions.h"
#include <string.h>

void devices_get_all(struct call *call) {
    Pipit__DevicesRequest request = PIPIT__DEVICES_REQUEST__INIT;
    Pipit__DevicesReply *reply = NULL;
    request.user = call->self.user;
    if (!call_check(call, ASK(&call->ask, DEVICES_REQUEST, &request, DEVICES_REPLY, &reply))) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_devices; i++) {
        const Pipit__Device *device = reply->devices[i];
        json_write_open(json);
        json_write_key_text(json, "id", device->id);
        json_write_key_text(json, "name", device->name);
        json_write_key_text(json, "platform", device->platform);
        json_write_key_time(json, "created_at", device->created_ms);
        json_write_key_time(json, "seen_at", device->seen_ms);
        json_write_key_bool(json, "current", strcmp(device->id, call->self.device) == 0);
        json_write_close(json);
    }
    json_write_close_array(json);
    json_write_close(json);
}

void devices_delete(struct call *call) {
    const char *id = call_param(call, 0);
    struct session_end end = {.user = call->self.user, .device = id, .delete_device = true};
    if (!call_body_none(call)) {
        return;
    }
    if (!names_device_id_valid(id, strlen(id))) {
        (void)call_fail(call, REASON_NOT_FOUND, 0, "There is no such device.");
        return;
    }
    if (call_check(call, session_end(call, &end))) {
        call_audit(call, call->self.user, "device_removed", id, "");
        call_answer_empty(call);
    }
}
