/* handlers: one function an operation, as the route table (routes.c) calls them: on a worker thread
 * (or the HTTP thread for ROUTE_INLINE), with token, query names and JSON shape checked. Each ends
 * with an answer or a problem recorded in the call. Grouped by the file that has them. */
#ifndef PIPIT_AUTH_HANDLERS_H
#define PIPIT_AUTH_HANDLERS_H

struct call;

/* wellknown.c */
void wellknown_pipit(struct call *call);
void wellknown_jwks(struct call *call);
void openapi_yaml(struct call *call);
void openapi_json(struct call *call);
/* register.c, login.c, tokens.c, password_change.c */
void register_post(struct call *call);
void login_post(struct call *call);
void token_post(struct call *call);
void logout_post(struct call *call);
void password_put(struct call *call);
/* users.c */
void me_get(struct call *call);
void me_patch(struct call *call);
void users_get_all(struct call *call);
void users_get(struct call *call);
/* devices.c */
void devices_get_all(struct call *call);
void devices_delete(struct call *call);
/* blocks.c */
void blocks_get_all(struct call *call);
void blocks_put(struct call *call);
void blocks_delete(struct call *call);
/* conversations.c */
void conversations_get_all(struct call *call);
void conversations_post(struct call *call);
void conversations_get(struct call *call);
void conversations_patch(struct call *call);
void conversations_delete(struct call *call);
/* members.c */
void members_get_all(struct call *call);
void members_put(struct call *call);
void members_delete(struct call *call);
void mute_put(struct call *call);
/* history.c, messages.c, cursors.c */
void messages_get_all(struct call *call);
void messages_put(struct call *call);
void messages_patch(struct call *call);
void messages_delete(struct call *call);
void reactions_put(struct call *call);
void reactions_delete(struct call *call);
void read_put(struct call *call);
/* invites.c */
void invites_post(struct call *call);
void admin_invites_get_all(struct call *call);
void admin_invites_post(struct call *call);
void admin_invites_delete(struct call *call);
/* admin_users.c, admin.c */
void admin_users_get_all(struct call *call);
void admin_users_get(struct call *call);
void admin_users_patch(struct call *call);
void admin_users_password_post(struct call *call);
void admin_stats_get(struct call *call);
void admin_audit_get(struct call *call);

#endif
