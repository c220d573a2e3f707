/* A device that joins a fleet: views on stdin, each DDNN_VIEW numbers; asks the edge about each and prints its answer.
 *
 *     ./join HOST PORT NAME [TOKEN] < views
 *
 * Event n is called NAME and n; other devices that see the same event use the same ids. An answer is a line of JSON.
 * Where the edge gives none in time, the device has its own scores: a degraded answer of the exit `device`.
 * This file has what is POSIX; ddnn_section.c and ddnn_stream.c run anywhere.
 */
#define _POSIX_C_SOURCE 200112L
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ddnn_stream.h"

#define PATIENCE_MS 2000 /* for an answer */
#define CONNECTIONS 2    /* that a request goes out on */

typedef struct {
    const char *host, *port, *token;
    struct addrinfo *address;
    int socket; /* -1: there is none */
    ddnn_stream stream;
    uint8_t in[16384];
    size_t in_size;
} line;

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void hang_up(line *to)
{
    if (to->socket >= 0)
        close(to->socket);
    to->socket = -1;
}

static int is_ready(int descriptor, short what, long long until)
{
    struct pollfd waits = {descriptor, what, 0};
    const long long left = until - now_ms();
    return left > 0 && poll(&waits, 1, (int)left) == 1;
}

static int send_all(line *to, const void *data, size_t size, long long until)
{
    const uint8_t *at = data;
    while (size) {
        if (!is_ready(to->socket, POLLOUT, until))
            return 0;
        const ssize_t sent = send(to->socket, at, size, 0);
        if (sent <= 0)
            return 0;
        at += sent;
        size -= (size_t)sent;
    }
    return 1;
}

/* Read what there is behind what has been read already. */
static int receive(line *from, long long until)
{
    if (from->in_size == sizeof from->in || !is_ready(from->socket, POLLIN, until))
        return 0;
    const ssize_t got = recv(from->socket, from->in + from->in_size, sizeof from->in - from->in_size, 0);
    if (got <= 0)
        return 0;
    from->in_size += (size_t)got;
    return 1;
}

static void drop(line *from, size_t size)
{
    from->in_size -= size;
    memmove(from->in, from->in + size, from->in_size);
}

/* The next frame, until the next call; 0 where none comes in time, or the connection is of no more use. */
static int next_frame(line *from, ddnn_frame *frame, size_t *used, long long until)
{
    drop(from, *used);
    *used = 0;
    for (;;) {
        const long size = ddnn_next(from->in, from->in_size, frame);
        if (size > 0) {
            *used = (size_t)size;
            return 1;
        }
        if (size < 0 || !receive(from, until))
            return 0;
    }
}

static int dial(line *to, long long until)
{
    const int one = 1;
    int error = 0;
    socklen_t size = sizeof error;
    to->socket = socket(to->address->ai_family, SOCK_STREAM, 0);
    if (to->socket < 0 || fcntl(to->socket, F_SETFL, O_NONBLOCK) < 0)
        return 0;
    setsockopt(to->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!connect(to->socket, to->address->ai_addr, to->address->ai_addrlen))
        return 1;
    if (errno != EINPROGRESS || !is_ready(to->socket, POLLOUT, until))
        return 0;
    return !getsockopt(to->socket, SOL_SOCKET, SO_ERROR, &error, &size) && !error;
}

/* Connect, and wait until requests may go. */
static int open_stream(line *to, long long until)
{
    char offer[1024], host[300];
    size_t taken = 0, used = 0;
    ddnn_frame frame;
    uint32_t credit = 0;
    if (!dial(to, until))
        return 0;
    memset(&to->stream, 0, sizeof to->stream);
    to->in_size = 0;
    snprintf(host, sizeof host, "%s:%s", to->host, to->port);
    const size_t size = ddnn_offer(offer, sizeof offer, host, to->token);
    if (!size || !send_all(to, offer, size, until))
        return 0;
    int status;
    while (!(status = ddnn_accepted((const char *)to->in, to->in_size, &taken)))
        if (!receive(to, until))
            return 0;
    if (status != 101) {
        fprintf(stderr, "the edge refuses a stream: %d %.*s\n", status, (int)(to->in_size - taken), to->in + taken);
        return 0;
    }
    drop(to, taken);
    while (!credit) {
        if (!next_frame(to, &frame, &used, until) || (frame.kind == DDNN_CREDIT && !ddnn_read_credit(&frame, &credit)))
            return 0;
    }
    drop(to, used);
    return 1;
}

/* Ask once and wait: 1 with an answer; 0 where the connection is of no more use; -1 where the edge refuses. */
static int exchange(line *to, ddnn_asked what, const char *id, const uint8_t *row, ddnn_answer *answer, long long until)
{
    uint8_t out[DDNN_MOST_ASK];
    static uint32_t number;
    const long long left = until - now_ms();
    size_t used = 0;
    ddnn_frame frame;
    number = (number + 1) % 100;
    const size_t size = ddnn_ask(&to->stream, out, sizeof out, what, number, left > 0 ? (uint32_t)left : 0,
                                 (const uint8_t *)id, strlen(id), row);
    if (!size || !send_all(to, out, size, until))
        return 0;
    while (next_frame(to, &frame, &used, until)) {
        ddnn_refusal refusal;
        if (frame.kind == DDNN_ANSWER) {
            if (!ddnn_read_answer(&frame, answer))
                return 0;
            if (answer->number == number) {
                drop(to, used);
                return 1;
            }
        } else if (frame.kind == DDNN_REFUSAL) {
            if (!ddnn_read_refusal(&frame, &refusal))
                return 0;
            fprintf(stderr, "the edge refuses: %u %.*s\n", (unsigned)refusal.status, (int)refusal.sentence_size,
                    refusal.sentence);
            if (refusal.number == number) {
                drop(to, used);
                return -1;
            }
        }
    }
    return 0;
}

/* The edge's answer to one event: scores first, then what it asks for. 0 where there is none. */
static int ask_edge(line *to, const char *id, const uint8_t *scores, const uint8_t *features, ddnn_answer *answer)
{
    const long long until = now_ms() + PATIENCE_MS;
    const uint8_t *const rows[] = {scores, features, NULL};
    const uint32_t sizes[] = {DDNN_SCORES, DDNN_FEATURES, 0};
    uint32_t sent = 0; /* of tensors, as answers count them */
    int what = DDNN_ASK_SCORES;
    for (int connection = 0; connection < CONNECTIONS;) {
        if (to->socket < 0 && !open_stream(to, until)) {
            hang_up(to);
            connection++;
            continue;
        }
        const int heard = exchange(to, (ddnn_asked)what, id, rows[what], answer, until);
        if (heard < 0)
            return 0;
        if (!heard) {
            hang_up(to); /* by the event's id a repeat on the next connection changes nothing */
            connection++;
            continue;
        }
        sent += sizes[what];
        if (answer->label >= 0) { /* where it needs features all the same, for an audit: those of others do */
            answer->bytes_up += sent;
            return 1;
        }
        if (!answer->need_features || what == DDNN_ASK_WAITS)
            return 0;
        what++;
    }
    return 0;
}

static void print(const char *id, const ddnn_answer *answer)
{
    static const char *const exits[] = {"device", "local", "edge", "cloud"};
    printf("{\"event\": \"%s\", \"label\": %d, \"exit\": \"%s\", \"confidence\": %.5f, \"probabilities\": [", id,
           answer->label, exits[answer->exit], (double)answer->confidence);
    for (int i = 0; i < DDNN_CLASSES; i++)
        printf("%s%.5f", i ? ", " : "", (double)answer->probabilities[i]);
    printf("], \"devices\": [");
    for (int i = 0; i < DDNN_DEVICES; i++)
        printf("%s%s", i ? ", " : "", answer->devices[i / 8] >> i % 8 & 1 ? "true" : "false");
    printf("], \"degraded\": %s, \"degraded_reason\": \"%s\", \"policy_version\": %u, \"bytes_up\": %u}\n",
           answer->degraded ? "true" : "false", answer->reason, (unsigned)answer->policy_version,
           (unsigned)answer->bytes_up);
    fflush(stdout);
}

int main(int count, char **words)
{
    static ddnn_number view[DDNN_VIEW];
    static uint8_t features[DDNN_FEATURES], row[DDNN_SCORES];
    static float scores[DDNN_CLASSES];
    static line edge;
    struct addrinfo wanted;
    char id[DDNN_MOST_ID + 1];
    if (count < 4 || count > 5 || strlen(words[3]) > DDNN_MOST_ID - 10) {
        fprintf(stderr, "usage: %s HOST PORT NAME [TOKEN] < views\n", words[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    edge.host = words[1];
    edge.port = words[2];
    edge.token = count > 4 ? words[4] : NULL;
    edge.socket = -1;
    memset(&wanted, 0, sizeof wanted);
    wanted.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(edge.host, edge.port, &wanted, &edge.address)) {
        fprintf(stderr, "%s port %s is no address\n", edge.host, edge.port);
        return 2;
    }
    for (unsigned n = 0; fread(view, sizeof *view, DDNN_VIEW, stdin) == DDNN_VIEW; n++) {
        ddnn_answer answer;
        snprintf(id, sizeof id, "%s%u", words[3], n);
        ddnn_section(view, scores, features);
        ddnn_pack_scores(scores, row);
        if (!ask_edge(&edge, id, row, features, &answer)) {
            memset(&answer, 0, sizeof answer);
            answer.label = ddnn_label(scores);
            answer.degraded = 1;
            answer.devices[DDNN_DEVICE / 8] = (uint8_t)(1u << DDNN_DEVICE % 8);
            strcpy(answer.reason, "unreachable");
        }
        print(id, &answer);
    }
    hang_up(&edge);
    freeaddrinfo(edge.address);
    return 0;
}
