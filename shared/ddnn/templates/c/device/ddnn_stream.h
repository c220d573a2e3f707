/* The lower end of a stream to an edge, for one device: what it sends, and what comes back, as bytes.
 *
 * Nothing here opens a connection, waits or allocates: bytes are written to the caller's memory and read from it.
 * The frames are those of the protocol's page, section 11.
 */
#ifndef DDNN_STREAM_H
#define DDNN_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "ddnn_section.h"

#define DDNN_MOST_ID 64 /* bytes of an event id; an edge takes 256 */
#define DDNN_MOST_REASON 64
/* Room that is enough for any request, with its description. */
#define DDNN_MOST_ASK (1024 + DDNN_MOST_ID + DDNN_FEATURES + DDNN_SCORES)

/* What is the same for all requests of one connection; all zero when it is new. */
typedef struct {
    uint8_t id[DDNN_MOST_ID]; /* of the last request */
    size_t id_size;
    unsigned described; /* a bit for each description that went out */
} ddnn_stream;

/* What a request has of its event. */
typedef enum {
    DDNN_ASK_SCORES,   /* first: DDNN_SCORES bytes */
    DDNN_ASK_FEATURES, /* where the answer needs features: DDNN_FEATURES bytes */
    DDNN_ASK_WAITS     /* where it still does: this device has no more to give, and waits; no bytes */
} ddnn_asked;

/* The HTTP request that opens a stream, without a zero at its end; `token` may be NULL. 0 where there is no room. */
size_t ddnn_offer(char *out, size_t room, const char *host, const char *token);

/* The answer to it, as far as it has come: 101 once it is a stream, with the bytes that the answer had in `taken`;
 * another status where it is refused; 0 while more has to come; -1 where it is no HTTP. */
int ddnn_accepted(const char *data, size_t size, size_t *taken);

/* A request about one event, with `left_ms` to be answered in. `number` is any that no request without an answer
 * has. Returns its bytes, 0 where there is no room or the id is empty or too long. */
size_t ddnn_ask(ddnn_stream *stream, uint8_t *out, size_t room, ddnn_asked what, uint32_t number, uint32_t left_ms,
                const uint8_t *id, size_t id_size, const uint8_t *row);

/* The answer to a request is not waited for any more; its number is free once something has come for it. */
size_t ddnn_cancel(uint8_t *out, size_t room, uint32_t number);

/* Asks for a sign of life. */
size_t ddnn_ping(uint8_t *out, size_t room);

/* Kinds of frames that come. */
enum { DDNN_ANSWER = 1, DDNN_REFUSAL = 2, DDNN_BULLETIN = 3, DDNN_PONG = 4, DDNN_CREDIT = 5 };

typedef struct {
    unsigned kind, flags;
    const uint8_t *data;
    size_t size;
} ddnn_frame;

/* The frame that `data` begins with: its bytes; 0 while more has to come; -1 where it makes no sense. */
long ddnn_next(const uint8_t *data, size_t size, ddnn_frame *frame);

typedef struct {
    uint32_t number;
    int exit; /* 0 device, 1 local, 2 edge, 3 cloud */
    int degraded, need_features;
    int label; /* -1: there is none yet */
    float confidence, probabilities[DDNN_CLASSES];
    uint8_t devices[(DDNN_DEVICES + 7) / 8], late[(DDNN_DEVICES + 7) / 8]; /* bits, the first device's lowest */
    uint32_t policy_version, bytes_up;
    char reason[DDNN_MOST_REASON + 1]; /* why it is degraded */
} ddnn_answer;

/* What a frame of the kind says: 1, or 0 where it makes no sense. */
int ddnn_read_answer(const ddnn_frame *frame, ddnn_answer *answer);

typedef struct {
    uint32_t number, status, after_s; /* as HTTP has them; ask again after so long, 0: nothing is said */
    const char *code, *sentence;      /* within the frame, without a zero at the end */
    size_t code_size, sentence_size;
} ddnn_refusal;

int ddnn_read_refusal(const ddnn_frame *frame, ddnn_refusal *refusal);

/* How many requests may be without an answer: none until it was said. */
int ddnn_read_credit(const ddnn_frame *frame, uint32_t *most);

#endif
