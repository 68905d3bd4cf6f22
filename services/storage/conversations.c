/* conversations: lists, creation, membership and blocks. A change leaves its MembersChanged in
 * call->changed; storage.c publishes it on the stream after the commit and before the reply, so
 * whoever got the reply knows that routing is being told. */
#include "services/storage/handler.h"

static enum err run_conversations(struct store *store, struct call *call) {
    return store->ops->conversations(store, (const Pipit__ConversationsRequest *)call->request,
                                     &call->arena, (Pipit__ConversationsReply *)call->reply);
}

static enum err run_conversation_load(struct store *store, struct call *call) {
    return store->ops->conversation_load(store, (const Pipit__ConversationLoad *)call->request,
                                         &call->arena, (Pipit__ConversationReply *)call->reply);
}

static enum err run_conversation_create(struct store *store, struct call *call) {
    const Pipit__ConversationCreate *request = (const Pipit__ConversationCreate *)call->request;
    if (request->kind != PIPIT__CONVERSATION_KIND__CONVERSATION_GROUP &&
        request->kind != PIPIT__CONVERSATION_KIND__CONVERSATION_DIRECT) {
        return ERR_UNSUPPORTED; /* of a newer version: its rules are not known here */
    }
    return store->ops->conversation_create(store, request, &call->arena,
                                           (Pipit__ConversationReply *)call->reply, &call->changed);
}

static enum err run_members_change(struct store *store, struct call *call) {
    return store->ops->members_change(store, (const Pipit__MembersChange *)call->request,
                                      &call->arena, (Pipit__ConversationReply *)call->reply,
                                      &call->changed);
}

static enum err run_block_change(struct store *store, struct call *call) {
    return store->ops->block_change(store, (const Pipit__BlockChange *)call->request, &call->arena,
                                    (Pipit__StatusReply *)call->reply, &call->changed);
}

static enum err run_blocks(struct store *store, struct call *call) {
    return store->ops->blocks(store, (const Pipit__BlocksRequest *)call->request, &call->arena,
                              (Pipit__BlocksReply *)call->reply);
}

static const struct handler ROWS[] = {
    {MESSAGE_CONVERSATIONS_REQUEST, MESSAGE_CONVERSATIONS_REPLY,
     &pipit__conversations_reply__descriptor, HANDLER_READ, STORAGE_OP_LIST, run_conversations},
    {MESSAGE_CONVERSATION_LOAD, MESSAGE_CONVERSATION_REPLY, &pipit__conversation_reply__descriptor,
     HANDLER_READ, STORAGE_OP_MEMBERS, run_conversation_load},
    {MESSAGE_CONVERSATION_CREATE, MESSAGE_CONVERSATION_REPLY,
     &pipit__conversation_reply__descriptor, HANDLER_WRITE, STORAGE_OP_MEMBERS,
     run_conversation_create},
    {MESSAGE_MEMBERS_CHANGE, MESSAGE_CONVERSATION_REPLY, &pipit__conversation_reply__descriptor,
     HANDLER_WRITE, STORAGE_OP_MEMBERS, run_members_change},
    {MESSAGE_BLOCK_CHANGE, MESSAGE_STATUS_REPLY, &pipit__status_reply__descriptor, HANDLER_WRITE,
     STORAGE_OP_MEMBERS, run_block_change},
    {MESSAGE_BLOCKS_REQUEST, MESSAGE_BLOCKS_REPLY, &pipit__blocks_reply__descriptor, HANDLER_READ,
     STORAGE_OP_MEMBERS, run_blocks},
};
const struct handler_table conversations_handlers = {ROWS, sizeof(ROWS) / sizeof(ROWS[0])};
