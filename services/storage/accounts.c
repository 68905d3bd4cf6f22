/* accounts: what auth asks: users, devices and sessions, revocations, invites, signing keys,
 * figures and the audit log. */
#include "services/storage/handler.h"

static enum err run_user_create(struct store *store, struct call *call) {
    return store->ops->user_create(store, (const Pipit__UserCreate *)call->request, &call->arena,
                                   (Pipit__UserReply *)call->reply);
}

static enum err run_user_get(struct store *store, struct call *call) {
    return store->ops->user_get(store, (const Pipit__UserGet *)call->request, &call->arena,
                                (Pipit__UserReply *)call->reply);
}

static enum err run_user_update(struct store *store, struct call *call) {
    return store->ops->user_update(store, (const Pipit__UserUpdate *)call->request, &call->arena,
                                   (Pipit__UserReply *)call->reply);
}

static enum err run_users(struct store *store, struct call *call) {
    return store->ops->users(store, (const Pipit__UsersRequest *)call->request, &call->arena,
                             (Pipit__UsersReply *)call->reply);
}

static enum err run_devices(struct store *store, struct call *call) {
    return store->ops->devices(store, (const Pipit__DevicesRequest *)call->request, &call->arena,
                               (Pipit__DevicesReply *)call->reply);
}

static enum err run_session_create(struct store *store, struct call *call) {
    return store->ops->session_create(store, (const Pipit__SessionCreate *)call->request,
                                      &call->arena, (Pipit__SessionReply *)call->reply);
}

static enum err run_session_rotate(struct store *store, struct call *call) {
    return store->ops->session_rotate(store, (const Pipit__SessionRotate *)call->request,
                                      &call->arena, (Pipit__SessionReply *)call->reply);
}

static enum err run_revoke(struct store *store, struct call *call) {
    return store->ops->revoke(store, (const Pipit__Revoke *)call->request, &call->arena,
                              (Pipit__StatusReply *)call->reply);
}

static enum err run_revocations(struct store *store, struct call *call) {
    return store->ops->revocations(store, (const Pipit__RevocationsRequest *)call->request,
                                   &call->arena, (Pipit__RevocationsReply *)call->reply);
}

static enum err run_invite_create(struct store *store, struct call *call) {
    return store->ops->invite_create(store, (const Pipit__InviteCreate *)call->request,
                                     &call->arena, (Pipit__StatusReply *)call->reply);
}

static enum err run_invites(struct store *store, struct call *call) {
    return store->ops->invites(store, (const Pipit__InvitesRequest *)call->request, &call->arena,
                               (Pipit__InvitesReply *)call->reply);
}

static enum err run_invite_delete(struct store *store, struct call *call) {
    return store->ops->invite_delete(store, (const Pipit__InviteDelete *)call->request,
                                     &call->arena, (Pipit__StatusReply *)call->reply);
}

static enum err run_key_put(struct store *store, struct call *call) {
    return store->ops->key_put(store, (const Pipit__KeyPut *)call->request, &call->arena,
                               (Pipit__StatusReply *)call->reply);
}

static enum err run_key_retire(struct store *store, struct call *call) {
    return store->ops->key_retire(store, (const Pipit__KeyRetire *)call->request, &call->arena,
                                  (Pipit__StatusReply *)call->reply);
}

static enum err run_keys(struct store *store, struct call *call) {
    return store->ops->keys(store, (const Pipit__KeysRequest *)call->request, &call->arena,
                            (Pipit__KeysReply *)call->reply);
}

static enum err run_stats(struct store *store, struct call *call) {
    return store->ops->stats(store, (const Pipit__StatsRequest *)call->request, &call->arena,
                             (Pipit__StatsReply *)call->reply);
}

static enum err run_audit_append(struct store *store, struct call *call) {
    return store->ops->audit_append(store, (const Pipit__AuditAppend *)call->request, &call->arena,
                                    (Pipit__StatusReply *)call->reply);
}

static enum err run_audit(struct store *store, struct call *call) {
    return store->ops->audit(store, (const Pipit__AuditRequest *)call->request, &call->arena,
                             (Pipit__AuditReply *)call->reply);
}

static const struct handler ROWS[] = {
    {MESSAGE_USER_CREATE, MESSAGE_USER_REPLY, &pipit__user_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_ACCOUNTS, run_user_create},
    {MESSAGE_USER_GET, MESSAGE_USER_REPLY, &pipit__user_reply__descriptor, HANDLER_READ,
     STORAGE_OP_ACCOUNTS, run_user_get},
    {MESSAGE_USER_UPDATE, MESSAGE_USER_REPLY, &pipit__user_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_ACCOUNTS, run_user_update},
    {MESSAGE_USERS_REQUEST, MESSAGE_USERS_REPLY, &pipit__users_reply__descriptor, HANDLER_READ,
     STORAGE_OP_ACCOUNTS, run_users},
    {MESSAGE_DEVICES_REQUEST, MESSAGE_DEVICES_REPLY, &pipit__devices_reply__descriptor,
     HANDLER_READ, STORAGE_OP_SESSIONS, run_devices},
    {MESSAGE_SESSION_CREATE, MESSAGE_SESSION_REPLY, &pipit__session_reply__descriptor,
     HANDLER_WRITE, STORAGE_OP_SESSIONS, run_session_create},
    {MESSAGE_SESSION_ROTATE, MESSAGE_SESSION_REPLY, &pipit__session_reply__descriptor,
     HANDLER_WRITE, STORAGE_OP_SESSIONS, run_session_rotate},
    {MESSAGE_REVOKE, MESSAGE_STATUS_REPLY, &pipit__status_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_SESSIONS, run_revoke},
    {MESSAGE_REVOCATIONS_REQUEST, MESSAGE_REVOCATIONS_REPLY, &pipit__revocations_reply__descriptor,
     HANDLER_READ, STORAGE_OP_SESSIONS, run_revocations},
    {MESSAGE_INVITE_CREATE, MESSAGE_STATUS_REPLY, &pipit__status_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_ADMIN, run_invite_create},
    {MESSAGE_INVITES_REQUEST, MESSAGE_INVITES_REPLY, &pipit__invites_reply__descriptor,
     HANDLER_READ, STORAGE_OP_ADMIN, run_invites},
    {MESSAGE_INVITE_DELETE, MESSAGE_STATUS_REPLY, &pipit__status_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_ADMIN, run_invite_delete},
    {MESSAGE_KEY_PUT, MESSAGE_STATUS_REPLY, &pipit__status_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_ADMIN, run_key_put},
    {MESSAGE_KEY_RETIRE, MESSAGE_STATUS_REPLY, &pipit__status_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_ADMIN, run_key_retire},
    {MESSAGE_KEYS_REQUEST, MESSAGE_KEYS_REPLY, &pipit__keys_reply__descriptor, HANDLER_READ,
     STORAGE_OP_ADMIN, run_keys},
    {MESSAGE_STATS_REQUEST, MESSAGE_STATS_REPLY, &pipit__stats_reply__descriptor, HANDLER_READ,
     STORAGE_OP_ADMIN, run_stats},
    {MESSAGE_AUDIT_APPEND, MESSAGE_STATUS_REPLY, &pipit__status_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_ADMIN, run_audit_append},
    {MESSAGE_AUDIT_REQUEST, MESSAGE_AUDIT_REPLY, &pipit__audit_reply__descriptor, HANDLER_READ,
     STORAGE_OP_ADMIN, run_audit},
};
const struct handler_table accounts_handlers = {ROWS, sizeof(ROWS) / sizeof(ROWS[0])};
