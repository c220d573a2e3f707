#include "ddnn_stream.h"

#include <string.h>

#define LONGEST_NUMBER 9
#define LONGEST_FRAME 0x100000
#define DESCRIBE 1
#define ASK 2
#define CANCEL 3
#define PING 4

typedef struct {
    uint8_t *out;
    size_t room, size;
    int full;
} writer;

static void put(writer *to, const void *data, size_t size)
{
    if (to->full || size > to->room - to->size) {
        to->full = 1;
        return;
    }
    if (size)
        memcpy(to->out + to->size, data, size);
    to->size += size;
}

static void put_byte(writer *to, unsigned byte)
{
    const uint8_t one = (uint8_t)byte;
    put(to, &one, 1);
}

static void put_text(writer *to, const char *text)
{
    put(to, text, strlen(text));
}

static void put_number(writer *to, uint32_t number)
{
    for (; number > 127; number >>= 7)
        put_byte(to, (number & 127) | 128);
    put_byte(to, number);
}

static size_t length_of(uint32_t number)
{
    size_t size = 1;
    for (; number > 127; number >>= 7)
        size++;
    return size;
}

/* A frame's head; what follows has `size` bytes. */
static void put_head(writer *to, unsigned kind, size_t size)
{
    put_number(to, (uint32_t)size + 1);
    put_byte(to, kind);
}

static size_t written(const writer *to)
{
    return to->full ? 0 : to->size;
}

size_t ddnn_offer(char *out, size_t room, const char *host, const char *token)
{
    char device[11];
    size_t at = sizeof device;
    unsigned number = DDNN_DEVICE;
    device[--at] = 0;
    do
        device[--at] = (char)('0' + number % 10);
    while (number /= 10);
    writer to = {(uint8_t *)out, room, 0, 0};
    put_text(&to, "GET /v2/stream HTTP/1.1\r\nhost: ");
    put_text(&to, host);
    put_text(&to, "\r\nconnection: Upgrade\r\nupgrade: ddnn-stream/1\r\nx-ddnn-tier: device/");
    put_text(&to, device + at);
    put_text(&to, "\r\nx-ddnn-bundle: " DDNN_BUNDLE "\r\n");
    if (token) {
        put_text(&to, "authorization: Bearer ");
        put_text(&to, token);
        put_text(&to, "\r\n");
    }
    put_text(&to, "\r\n");
    return written(&to);
}

int ddnn_accepted(const char *data, size_t size, size_t *taken)
{
    static const char start[] = "HTTP/1.", end[] = "\r\n\r\n";
    const size_t known = size < sizeof start - 1 ? size : sizeof start - 1;
    if (memcmp(data, start, known))
        return -1;
    for (size_t at = 0; at + sizeof end - 1 <= size; at++) {
        if (memcmp(data + at, end, sizeof end - 1))
            continue;
        *taken = at + sizeof end - 1;
        int status = 0;
        for (size_t digit = 9; digit < 12 && digit < at; digit++) {
            if (data[digit] < '0' || data[digit] > '9')
                return -1;
            status = 10 * status + (data[digit] - '0');
        }
        return status ? status : -1;
    }
    return 0;
}

size_t ddnn_ask(ddnn_stream *stream, uint8_t *out, size_t room, ddnn_asked what, uint32_t number, uint32_t left_ms,
                const uint8_t *id, size_t id_size, const uint8_t *row)
{
    static const char *const described[] = {DDNN_DESCRIBED_SCORES, DDNN_DESCRIBED_FEATURES, DDNN_DESCRIBED_WAITS};
    static const size_t sizes[] = {DDNN_SCORES, DDNN_FEATURES, 0};
    static const uint8_t waits = 1;
    writer to = {out, room, 0, 0};
    if (!id_size || id_size > DDNN_MOST_ID)
        return 0;
    if (!(stream->described >> what & 1)) {
        const char *text = described[what];
        put_head(&to, DESCRIBE, 1 + strlen(text));
        put_number(&to, what);
        put_text(&to, text);
    }
    size_t same = 0; /* an id as long as the last one goes out by what is new at its end */
    const int whole = stream->id_size != id_size;
    while (!whole && same < id_size && id[same] == stream->id[same])
        same++;
    const uint32_t new_bytes = (uint32_t)(id_size - same), says = new_bytes << 1 | (whole ? 1 : 0);
    const uint8_t *tensor = what == DDNN_ASK_WAITS ? &waits : row;
    const size_t tensor_size = what == DDNN_ASK_WAITS ? 1 : sizes[what];
    left_ms = left_ms > 600000 ? 600000 : left_ms;
    put_head(&to, ASK,
             length_of(number) + length_of(what) + length_of(left_ms) + length_of(says) + new_bytes + tensor_size);
    put_number(&to, number);
    put_number(&to, what);
    put_number(&to, left_ms);
    put_number(&to, says);
    put(&to, id + same, new_bytes);
    put(&to, tensor, tensor_size);
    if (to.full)
        return 0;
    memcpy(stream->id, id, id_size);
    stream->id_size = id_size;
    stream->described |= 1u << what;
    return to.size;
}

size_t ddnn_cancel(uint8_t *out, size_t room, uint32_t number)
{
    writer to = {out, room, 0, 0};
    put_head(&to, CANCEL, length_of(number));
    put_number(&to, number);
    return written(&to);
}

size_t ddnn_ping(uint8_t *out, size_t room)
{
    writer to = {out, room, 0, 0};
    put_head(&to, PING, 0);
    return written(&to);
}

typedef struct {
    const uint8_t *data;
    size_t left;
    int bad; /* it ended too early, or had what makes no sense */
} reader;

static unsigned get_byte(reader *from)
{
    if (!from->left) {
        from->bad = 1;
        return 0;
    }
    from->left--;
    return *from->data++;
}

static uint64_t get_number(reader *from, uint64_t most)
{
    uint64_t number = 0;
    for (int place = 0; place < LONGEST_NUMBER; place++) {
        const unsigned byte = get_byte(from);
        number |= (uint64_t)(byte & 127) << 7 * place;
        if (byte < 128) {
            if (number > most)
                from->bad = 1;
            return from->bad ? 0 : number;
        }
    }
    from->bad = 1;
    return 0;
}

static const uint8_t *get(reader *from, size_t size)
{
    const uint8_t *at = from->data;
    if (from->bad || size > from->left) {
        from->bad = 1;
        return NULL;
    }
    from->data += size;
    from->left -= size;
    return at;
}

long ddnn_next(const uint8_t *data, size_t size, ddnn_frame *frame)
{
    reader from = {data, size, 0};
    const uint64_t length = get_number(&from, LONGEST_FRAME);
    if (from.bad) /* of less than the longest number more may come */
        return size < LONGEST_NUMBER && (!size || data[size - 1] > 127) ? 0 : -1;
    if (!length)
        return -1;
    if (from.left < length)
        return 0;
    const unsigned kind = get_byte(&from);
    frame->kind = kind & 15;
    frame->flags = kind & ~15u;
    frame->size = (size_t)length - 1;
    frame->data = from.data;
    return (long)(size - from.left + frame->size);
}

static void get_bits(reader *from, uint8_t *bits)
{
    const uint8_t *at = get(from, (DDNN_DEVICES + 7) / 8);
    if (at)
        memcpy(bits, at, (DDNN_DEVICES + 7) / 8);
}

int ddnn_read_answer(const ddnn_frame *frame, ddnn_answer *answer)
{
    const float part = 1.0f / 16383.0f;
    reader from = {frame->data, frame->size, 0};
    memset(answer, 0, sizeof *answer);
    answer->label = -1;
    answer->number = (uint32_t)get_number(&from, UINT32_MAX);
    if (frame->flags & 0x10)
        get_number(&from, INT64_MAX); /* how long a cloud has worked */
    const unsigned flags = get_byte(&from);
    answer->exit = (int)(flags & 3);
    answer->degraded = flags >> 2 & 1;
    answer->need_features = flags >> 3 & 1;
    if (flags & 16) {
        answer->label = (int)get_number(&from, DDNN_CLASSES - 1);
        answer->confidence = (float)get_number(&from, 16383) * part;
        for (int i = 0; i < DDNN_CLASSES; i++)
            answer->probabilities[i] = (float)get_number(&from, 16383) * part;
        get_bits(&from, answer->devices);
        answer->policy_version = (uint32_t)get_number(&from, UINT32_MAX);
        answer->bytes_up = (uint32_t)get_number(&from, UINT32_MAX);
    }
    if (flags & 32) {
        const size_t size = (size_t)get_number(&from, DDNN_MOST_REASON);
        const uint8_t *reason = get(&from, size);
        if (reason)
            memcpy(answer->reason, reason, size);
    }
    if (flags & 64)
        get_bits(&from, answer->late);
    return !from.bad && !from.left && flags < 128;
}

int ddnn_read_refusal(const ddnn_frame *frame, ddnn_refusal *refusal)
{
    reader from = {frame->data, frame->size, 0};
    refusal->number = (uint32_t)get_number(&from, UINT32_MAX);
    refusal->status = (uint32_t)get_number(&from, 599);
    refusal->after_s = (uint32_t)get_number(&from, 86400);
    refusal->code_size = (size_t)get_number(&from, 64);
    refusal->code = (const char *)get(&from, refusal->code_size);
    refusal->sentence_size = from.left;
    refusal->sentence = (const char *)from.data;
    return !from.bad && refusal->status >= 400;
}

int ddnn_read_credit(const ddnn_frame *frame, uint32_t *most)
{
    reader from = {frame->data, frame->size, 0};
    *most = (uint32_t)get_number(&from, 1u << 20);
    return !from.bad && !from.left;
}
