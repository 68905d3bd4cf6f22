/* options: the command line. */
#include "loadtest/options.h"

#include "loadtest/client.h"
#include "loadtest/scenario.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: pipit-load SCENARIO --port P [options]\n"
    "scenarios\n"
    "  direct            clients in pairs write to each other\n"
    "  group             clients in groups of --group-size write to their group\n"
    "  mixed             users log in over REST, then chat in pairs, half of them by WebSocket\n"
    "  login             users log in over REST\n"
    "  send              messages are sent over REST\n"
    "  idle              clients are connected, and nothing else happens\n"
    "  reconnect-storm   all connections are cut at once; how long until all are back\n"
    "options\n"
    "  --protocol mqtt|ws      default mqtt;  --port P  its port (mixed: MQTT's)\n"
    "  --doors N               instances, at N ports in a row, default 1; clients take turns\n"
    "  --ws-port P             mixed: WebSocket's port;  --rest-port P  login, mixed, send\n"
    "  --accounts FILE         lines \"name token\" (loadtest/accounts.py makes them)\n"
    "  --groups FILE           a conversation a line, one for each group (accounts.py --groups)\n"
    "  --password TEXT         of every account, for logins (accounts.py's by default)\n"
    "  --clients N             default 500; --idle N of them only listen, with\n"
    "                        the accounts that the others leave, several with the same if need be\n"
    "  --group-size G          default 50\n"
    "  --rate R                a second, over all clients (open loop); 0: as fast as answers come\n"
    "  --window W              with rate 0: unanswered sends of a client, default 8\n"
    "  --links L               REST connections, default 64\n"
    "  --bytes B               payload, default 100;  --seconds S  default 10\n"
    "  --send-topic T          MQTT; {me}, {peer} and {group} stand for names\n"
    "  --inbox T               MQTT; default pipit/me/inbox;  --inbox-qos 0|1\n"
    "  --pids A,B,...          processes whose CPU, memory and writes are reported\n"
    "  --progress              says every second how far it is\n";

static bool parse_pids(struct load_options *options, char *list) {
    for (char *part = strtok(list, ","); part != NULL; part = strtok(NULL, ",")) {
        long pid = strtol(part, NULL, 10);
        if (pid <= 0 || options->pid_count == LOAD_PROCESSES_MAX) {
            return false;
        }
        options->pids[options->pid_count++] = pid;
    }
    return true;
}

static bool parse_number(const char *text, double lowest, double highest, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= lowest && *out <= highest;
}

static bool parse_count(const char *text, uint32_t lowest, uint32_t highest, uint32_t *out) {
    double number = 0;
    bool good = parse_number(text, lowest, highest, &number);
    *out = (uint32_t)number;
    return good;
}

static bool parse_port(const char *text, uint16_t *out) {
    uint32_t number = 0;
    bool good = parse_count(text, 1, UINT16_MAX, &number);
    *out = (uint16_t)number;
    return good;
}

static bool parse_protocol(struct load_options *options, const char *text) {
    options->protocol = strcmp(text, "ws") == 0 ? &client_ws : &client_mqtt;
    options->protocol_name = options->protocol == &client_ws ? "ws" : "mqtt";
    return strcmp(text, options->protocol_name) == 0;
}

static bool parse_text(struct load_options *options, int option) {
    switch (option) {
    case 'a':
        options->accounts = optarg;
        return true;
    case 'g':
        options->groups = optarg;
        return true;
    case 'W':
        options->password = optarg;
        return true;
    case 't':
        options->send_topic = optarg;
        return true;
    case 'n':
        options->inbox = optarg;
        return true;
    case 'I':
        return parse_pids(options, optarg);
    case 'v':
        options->progress = true;
        return true;
    default:
        return false;
    }
}

static bool parse_option(struct load_options *options, int option) {
    uint32_t qos = 0;
    switch (option) {
    case 'P':
        return parse_protocol(options, optarg);
    case 'p':
        return parse_port(optarg, &options->port);
    case 'S':
        return parse_port(optarg, &options->ws_port);
    case 'R':
        return parse_port(optarg, &options->rest_port);
    case 'd':
        return parse_count(optarg, 1, 64, &options->doors);
    case 'c':
        return parse_count(optarg, 1, 1000000, &options->clients);
    case 'G':
        return parse_count(optarg, 2, 100000, &options->group_size);
    case 'i':
        return parse_count(optarg, 0, 1000000, &options->idle);
    case 'r':
        return parse_number(optarg, 0, 1e7, &options->rate);
    case 'w':
        return parse_count(optarg, 1, LOAD_WINDOW_MAX, &options->window);
    case 'l':
        return parse_count(optarg, 1, 10000, &options->links);
    case 'b':
        return parse_count(optarg, 1, 2048, &options->payload_bytes);
    case 's':
        return parse_number(optarg, 0.1, 1e6, &options->seconds);
    case 'q':
        if (!parse_count(optarg, 0, 1, &qos)) {
            return false;
        }
        options->inbox_qos = qos;
        return true;
    default:
        return parse_text(options, option);
    }
}

static const char *find_problem(const struct load_options *options) {
    const struct scenario *scenario = scenario_find(options->scenario);
    if (scenario == NULL) {
        return "there is no such scenario";
    }
    if (scenario->needs_port && options->port == 0) {
        return "--port is missing";
    }
    if (scenario->needs_rest && options->rest_port == 0) {
        return "--rest-port is missing";
    }
    if (scenario->needs_rest && options->accounts == NULL) {
        return "--accounts is missing";
    }
    if (options->idle >= options->clients) {
        return "--idle leaves no client that sends";
    }
    if ((options->clients - options->idle) % options->group_size != 0) {
        return "--clients without --idle must be a multiple of the group's size (two for pairs)";
    }
    return NULL;
}

bool options_parse(struct load_options *options, int argc, char **argv) {
    static const struct option table[] = {{"protocol", 1, NULL, 'P'},  {"port", 1, NULL, 'p'},
                                          {"ws-port", 1, NULL, 'S'},   {"rest-port", 1, NULL, 'R'},
                                          {"accounts", 1, NULL, 'a'},  {"groups", 1, NULL, 'g'},
                                          {"password", 1, NULL, 'W'},  {"doors", 1, NULL, 'd'},
                                          {"clients", 1, NULL, 'c'},   {"group-size", 1, NULL, 'G'},
                                          {"idle", 1, NULL, 'i'},      {"rate", 1, NULL, 'r'},
                                          {"window", 1, NULL, 'w'},    {"links", 1, NULL, 'l'},
                                          {"bytes", 1, NULL, 'b'},     {"seconds", 1, NULL, 's'},
                                          {"inbox", 1, NULL, 'n'},     {"send-topic", 1, NULL, 't'},
                                          {"inbox-qos", 1, NULL, 'q'}, {"pids", 1, NULL, 'I'},
                                          {"progress", 0, NULL, 'v'},  {NULL, 0, NULL, 0}};
    *options = (struct load_options){.scenario = "",
                                     .protocol = &client_mqtt,
                                     .protocol_name = "mqtt",
                                     .password = "quiet-otter-lamp",
                                     .inbox = "pipit/me/inbox",
                                     .inbox_qos = 1,
                                     .clients = 500,
                                     .group_size = 50,
                                     .window = 8,
                                     .links = 64,
                                     .doors = 1,
                                     .payload_bytes = 100,
                                     .seconds = 10};
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (!parse_option(options, option)) {
            (void)fputs(usage, stderr);
            return false;
        }
    }
    if (optind == argc - 1) {
        options->scenario = argv[optind];
    }
    const struct scenario *scenario = scenario_find(options->scenario);
    bool in_groups = scenario != NULL && scenario->in_groups;
    options->group_size = in_groups ? options->group_size : 2;
    if (options->send_topic == NULL) {
        options->send_topic = in_groups ? "pipit/c/{group}/send" : "pipit/u/{peer}/send";
    }
    const char *problem = find_problem(options);
    if (problem != NULL) {
        (void)fprintf(stderr, "pipit-load: %s\n%s", problem, usage);
    }
    return problem == NULL;
}
