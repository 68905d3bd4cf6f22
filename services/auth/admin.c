/* admin: figures of the whole server and the audit log. */
#include "common/clock.h"
#include "services/auth/call.h"
#include "services/auth/handlers.h"

#define AUDIT_LIMIT_MAX 100
#define AUDIT_LIMIT_DEFAULT 50

void admin_stats_get(struct call *call) {
    Pipit__StatsRequest request = PIPIT__STATS_REQUEST__INIT;
    Pipit__StatsReply *reply = NULL;
    request.now_ms = clock_wall_ms();
    if (!call_check(call, ASK(&call->ask, STATS_REQUEST, &request, STATS_REPLY, &reply))) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key_text(json, "version", PIPIT_VERSION);
    json_write_key_u64(json, "users", reply->users);
    json_write_key_u64(json, "users_disabled", reply->users_disabled);
    json_write_key_u64(json, "devices", reply->devices);
    json_write_key_u64(json, "conversations", reply->conversations);
    json_write_key_u64(json, "messages", reply->messages);
    json_write_key_u64(json, "store_bytes", reply->store_bytes);
    json_write_key_text(json, "backend", reply->backend);
    json_write_key_u64(json, "schema_version", reply->schema_version);
    json_write_key_text(json, "epoch", reply->epoch);
    json_write_close(json);
}

void admin_audit_get(struct call *call) {
    uint64_t before = 0;
    uint64_t limit = AUDIT_LIMIT_DEFAULT;
    Pipit__AuditRequest request = PIPIT__AUDIT_REQUEST__INIT;
    Pipit__AuditReply *reply = NULL;
    if (!call_query_u64(call, "before", 1, LIMIT_SEQ_MAX, &before, NULL) ||
        !call_query_u64(call, "limit", 1, AUDIT_LIMIT_MAX, &limit, NULL)) {
        return;
    }
    request.before_id = before;
    request.limit = (uint32_t)limit;
    if (!call_check(call, ASK(&call->ask, AUDIT_REQUEST, &request, AUDIT_REPLY, &reply))) {
        return;
    }
    struct json_writer *json = call_answer(call, 200);
    json_write_open(json);
    json_write_key(json, "items");
    json_write_open_array(json);
    for (size_t i = 0; i < reply->n_entries; i++) {
        const Pipit__AuditEntry *entry = reply->entries[i];
        json_write_open(json);
        json_write_key_u64(json, "id", entry->id);
        json_write_key_time(json, "at", entry->at_ms);
        json_write_key_text(json, "actor", entry->actor);
        json_write_key_text(json, "action", entry->action);
        json_write_key_text(json, "subject", entry->subject);
        json_write_key_text(json, "detail", entry->detail);
        json_write_key_text(json, "address", entry->address);
        json_write_close(json);
    }
    json_write_close_array(json);
    json_write_close(json);
}
