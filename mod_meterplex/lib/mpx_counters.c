/* mpx_counters.c: see mpx_counters.h. */
#include "mpx_counters.h"

#include <string.h>

#include <sodium.h>

#define MAGIC "MPXCNT01"
#define HEADER_SIZE 4096
#define CELL_SIZE 1024
#define PROBES 64 /* cells of a window */
#define WINDOWS 8 /* the next one is looked at where one is full: room is lost only when all of a record's are */
#define MINUTE APR_INT64_C(60000000)

/* State word: what the cell is, its generation, and while it is being written the writer's pid. */
#define KIND_BITS 2
#define GENERATION_BITS 20
#define GENERATION_MASK ((APR_UINT64_C(1) << GENERATION_BITS) - 1)
enum { CELL_FREE = 0,
       CELL_WRITING = 1,
       CELL_IN_USE = 2 };

/* Count word: generation above, count below; 2^44 requests in a minute are more than there can be. */
#define COUNT_BITS 44
#define COUNT_MASK ((APR_UINT64_C(1) << COUNT_BITS) - 1)

typedef struct cell {
    apr_uint64_t state;
    apr_uint64_t print; /* 64 bits of the record's keyed hash: a quick no */
    apr_uint64_t count;
    apr_uint64_t announced; /* count up to which a range was announced */
    apr_uint64_t settled;   /* count up to which it is committed; a range is open while announced > settled */
    apr_int64_t range_time; /* time of the announced range */
    apr_int64_t last;       /* time of the latest addition */
    apr_uint64_t use;
    apr_int64_t minute; /* record: from here on */
    mpx_uuid_t tenant;
    apr_uint64_t len;
    char payload[CELL_SIZE - 10 * 8 - 16];
} cell_t;

struct mpx_counters {
    char magic[8];
    apr_uint64_t cell_size, ncells;
    mpx_uuid_t id;
    unsigned char secret[MPX_COUNTERS_SECRET];
    apr_uint64_t uses; /* last use number given */
    char rest[HEADER_SIZE - 24 - 16 - MPX_COUNTERS_SECRET - 8];
    cell_t cells[];
};

_Static_assert(sizeof(cell_t) == CELL_SIZE, "a cell is 1 KiB");
_Static_assert(sizeof(mpx_counters_t) == HEADER_SIZE, "the header is a page");
_Static_assert(offsetof(cell_t, tenant) % 8 == 0 && offsetof(cell_t, payload) % 8 == 0, "read in words");
_Static_assert(sizeof(((cell_t *)0)->payload) >= MPX_COUNTERS_PAYLOAD_MAX, "room for a payload");

static apr_uint64_t get(const apr_uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void put(apr_uint64_t *word, apr_uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* A cell that is compared may be given up and rewritten meanwhile. What was compared then is thrown away, since the state,
 * read again after it, has changed; but each word must be read, and written, whole. */
typedef apr_uint64_t __attribute__((may_alias)) word_t;

static apr_uint64_t peek(const void *word)
{
    return __atomic_load_n((const word_t *)word, __ATOMIC_ACQUIRE);
}

static void poke(void *word, apr_uint64_t value)
{
    __atomic_store_n((word_t *)word, value, __ATOMIC_RELAXED);
}

/* Word i of len bytes anywhere, the last one filled up with zeros. */
static apr_uint64_t word_of(const void *bytes, apr_size_t len, apr_size_t i)
{
    apr_uint64_t word = 0;
    memcpy(&word, (const char *)bytes + i * 8, len - i * 8 < 8 ? len - i * 8 : 8);
    return word;
}

static void peek_all(void *to, const void *from, apr_size_t words)
{
    apr_size_t i;
    for (i = 0; i < words; i++) {
        apr_uint64_t word = peek((const char *)from + i * 8);
        memcpy((char *)to + i * 8, &word, 8);
    }
}

static int swap(apr_uint64_t *word, apr_uint64_t expected, apr_uint64_t value)
{
    return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static apr_uint64_t state_of(unsigned kind, apr_uint64_t generation, int pid)
{
    return kind | generation << KIND_BITS | (apr_uint64_t)(unsigned)pid << (KIND_BITS + GENERATION_BITS);
}

static unsigned kind_of(apr_uint64_t state)
{
    return state & ((1u << KIND_BITS) - 1);
}

static apr_uint64_t generation_of(apr_uint64_t state)
{
    return state >> KIND_BITS & GENERATION_MASK;
}

static int pid_of(apr_uint64_t state)
{
    return (int)(state >> (KIND_BITS + GENERATION_BITS));
}

mpx_counters_t *mpx_counters_format(void *memory, apr_size_t size, const mpx_uuid_t *id,
                                    const unsigned char secret[MPX_COUNTERS_SECRET])
{
    mpx_counters_t *counters = memory;
    if (size < HEADER_SIZE + PROBES * CELL_SIZE) {
        return NULL;
    }
    counters->cell_size = CELL_SIZE;
    counters->ncells = (size - HEADER_SIZE) / CELL_SIZE;
    counters->id = *id;
    memcpy(counters->secret, secret, MPX_COUNTERS_SECRET);
    /* Last: a file without it was not finished, and holds nothing. */
    memcpy(counters->magic, MAGIC, sizeof counters->magic);
    return counters;
}

const mpx_uuid_t *mpx_counters_id(const mpx_counters_t *counters)
{
    return &counters->id;
}

typedef struct record {
    const mpx_uuid_t *tenant;
    apr_int64_t minute;
    const void *payload;
    apr_size_t len;
    apr_uint64_t start, step, print; /* windows begin at start, start + step, ... */
} record_t;

static void hash_record(const mpx_counters_t *counters, record_t *record)
{
    unsigned char text[16 + 8 + MPX_COUNTERS_PAYLOAD_MAX];
    apr_uint64_t hash[2];

    memcpy(text, record->tenant->b, 16);
    memcpy(text + 16, &record->minute, 8);
    memcpy(text + 24, record->payload, record->len);
    crypto_shorthash_siphashx24((unsigned char *)hash, text, 24 + record->len, counters->secret);
    record->start = hash[0] % counters->ncells;
    record->step = PROBES + (hash[0] >> 32 ^ hash[1] >> 32) % counters->ncells;
    record->print = hash[1];
}

/* Is a cell what only we can have written? Its print is a keyed hash of the record. Others may be adding to the file: what
 * has changed hands meanwhile is theirs to know. */
static int is_sound(mpx_counters_t *counters, cell_t *cell)
{
    apr_uint64_t state = get(&cell->state), settled = get(&cell->settled), announced = get(&cell->announced),
                 count = get(&cell->count), generation = generation_of(state),
                 next = (generation + 1) & GENERATION_MASK ? (generation + 1) & GENERATION_MASK : 1;
    int sound = kind_of(state) <= CELL_IN_USE;

    if (kind_of(state) == CELL_IN_USE) {
        char payload[MPX_COUNTERS_PAYLOAD_MAX];
        mpx_uuid_t tenant;
        record_t record = { &tenant, (apr_int64_t)peek(&cell->minute), payload, peek(&cell->len), 0, 0, 0 };

        sound = record.len <= MPX_COUNTERS_PAYLOAD_MAX && settled <= announced && peek(&cell->use) != 0
            && (count == next << COUNT_BITS /* a flusher died between its two words */
                || (count >> COUNT_BITS == generation && announced <= (count & COUNT_MASK)));
        if (sound) {
            peek_all(&tenant, &cell->tenant, sizeof tenant / 8);
            peek_all(payload, cell->payload, (record.len + 7) / 8);
            hash_record(counters, &record);
            sound = record.print == peek(&cell->print);
        }
    }
    return sound || get(&cell->state) != state;
}

/* The number of uses stands in another page than the uses: after a power loss it may be older than they are. No number is
 * given twice. */
static void raise_uses(mpx_counters_t *counters, apr_uint64_t least)
{
    apr_uint64_t uses = get(&counters->uses);
    while (uses < least && !swap(&counters->uses, uses, least)) {
        uses = get(&counters->uses);
    }
}

mpx_counters_t *mpx_counters_attach(void *memory, apr_size_t size, const char **wrong)
{
    mpx_counters_t *counters = memory;
    apr_uint64_t i;

    if (size < HEADER_SIZE || memcmp(counters->magic, MAGIC, sizeof counters->magic) != 0) {
        *wrong = "it is not a counter file of this version";
        return NULL;
    }
    if (counters->cell_size != CELL_SIZE || counters->ncells < PROBES
        || counters->ncells > (size - HEADER_SIZE) / CELL_SIZE) {
        *wrong = "its size is not what it says of itself";
        return NULL;
    }
    for (i = 0; i < counters->ncells; i++) {
        if (!is_sound(counters, &counters->cells[i])) {
            *wrong = "a record in it is damaged";
            return NULL;
        }
        if (kind_of(get(&counters->cells[i].state)) == CELL_IN_USE) {
            raise_uses(counters, counters->cells[i].use);
        }
    }
    return counters;
}

/* Compared whole. The caller looks at the cell's state again afterwards. */
static int is_record(const cell_t *cell, const record_t *record)
{
    int same = peek(&cell->print) == record->print && (apr_int64_t)peek(&cell->minute) == record->minute
        && peek(&cell->len) == record->len && peek(cell->tenant.b) == word_of(record->tenant->b, 16, 0)
        && peek(cell->tenant.b + 8) == word_of(record->tenant->b, 16, 1);
    apr_size_t i;

    for (i = 0; same && i * 8 < record->len; i++) {
        same = peek(cell->payload + i * 8) == word_of(record->payload, record->len, i);
    }
    return same;
}

/* Add to a cell in use. @return 0 when the cell has been given up meanwhile */
static int add_to(cell_t *cell, apr_uint64_t generation, apr_time_t now, apr_uint64_t n)
{
    apr_uint64_t count = get(&cell->count);
    do {
        if (count >> COUNT_BITS != generation) {
            return 0;
        }
    } while (!__atomic_compare_exchange_n(&cell->count, &count, count + n, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (__atomic_load_n(&cell->last, __ATOMIC_RELAXED) < now) {
        __atomic_store_n(&cell->last, now, __ATOMIC_RELAXED);
    }
    return 1;
}

/* Take a free cell and write the record into it. Its count begins with n: a cell in use never stands for nothing. */
static int write_record(mpx_counters_t *counters, cell_t *cell, apr_uint64_t state, const record_t *record, apr_time_t now,
                        int pid, apr_uint64_t n)
{
    apr_uint64_t generation = generation_of(state), writing = state_of(CELL_WRITING, generation, pid);
    apr_size_t i;

    if (!swap(&cell->state, state, writing)) {
        return 0;
    }
    poke(&cell->print, record->print);
    poke(&cell->minute, (apr_uint64_t)record->minute);
    poke(cell->tenant.b, word_of(record->tenant->b, 16, 0));
    poke(cell->tenant.b + 8, word_of(record->tenant->b, 16, 1));
    poke(&cell->len, record->len);
    for (i = 0; i * 8 < record->len; i++) {
        poke(cell->payload + i * 8, word_of(record->payload, record->len, i));
    }
    poke(&cell->use, __atomic_add_fetch(&counters->uses, 1, __ATOMIC_ACQ_REL));
    poke(&cell->announced, 0);
    poke(&cell->settled, 0);
    poke(&cell->range_time, 0);
    poke(&cell->last, (apr_uint64_t)now);
    put(&cell->count, generation << COUNT_BITS | n);
    put(&cell->state, state_of(CELL_IN_USE, generation, 0));
    return 1;
}

/* First the whole window for the record, then for a free cell. Two who miss each other make two cells of one record, which
 * costs a cell and nothing else: both are flushed. @return 1 when it is counted */
static int add_in_window(mpx_counters_t *counters, const record_t *record, apr_uint64_t start, apr_time_t now, int pid,
                         apr_uint64_t n)
{
    apr_uint64_t i;

    for (i = 0; i < PROBES; i++) {
        cell_t *cell = &counters->cells[(start + i) % counters->ncells];
        apr_uint64_t state = get(&cell->state);
        if (kind_of(state) == CELL_FREE && generation_of(state) == 0) {
            break; /* never used: nobody has gone past it */
        }
        if (kind_of(state) == CELL_IN_USE && is_record(cell, record) && get(&cell->state) == state
            && add_to(cell, generation_of(state), now, n)) {
            return 1;
        }
    }
    for (i = 0; i < PROBES; i++) {
        cell_t *cell = &counters->cells[(start + i) % counters->ncells];
        apr_uint64_t state = get(&cell->state);
        if (kind_of(state) == CELL_FREE && write_record(counters, cell, state, record, now, pid, n)) {
            return 1;
        }
    }
    return 0;
}

int mpx_counters_add(mpx_counters_t *counters, const mpx_uuid_t *tenant, apr_time_t now, int pid, const void *payload,
                     apr_size_t len, apr_uint64_t n)
{
    record_t record = { tenant, now / MINUTE * MINUTE, payload, len, 0, 0, 0 };
    int window, counted = 0;

    if (len > MPX_COUNTERS_PAYLOAD_MAX) {
        return 0;
    }
    hash_record(counters, &record);
    for (window = 0; window < WINDOWS && !counted; window++) {
        apr_uint64_t start = (record.start + (apr_uint64_t)window * record.step) % counters->ncells;
        counted = add_in_window(counters, &record, start, now, pid, n);
    }
    return counted;
}

static void announce_one(mpx_counters_t *counters, apr_uint64_t index, apr_array_header_t *ranges)
{
    cell_t *cell = &counters->cells[index];
    apr_uint64_t count = get(&cell->count) & COUNT_MASK;
    mpx_counter_range_t *range;
    apr_int64_t last = __atomic_load_n(&cell->last, __ATOMIC_RELAXED), end = cell->minute + MINUTE - 1;

    if (cell->announced == cell->settled) { /* none is open */
        if (count == cell->settled) {
            return;
        }
        cell->range_time = last < cell->minute ? cell->minute : last > end ? end
                                                                           : last;
        put(&cell->announced, count);
    }
    range = apr_array_push(ranges);
    range->cell = index;
    range->use = cell->use;
    range->upto = cell->announced;
    range->n = cell->announced - cell->settled;
    range->time = cell->range_time;
    range->tenant = cell->tenant;
    range->payload = cell->payload;
    range->len = cell->len;
}

void mpx_counters_announce(mpx_counters_t *counters, int max, apr_array_header_t *ranges)
{
    apr_uint64_t i;
    for (i = 0; i < counters->ncells && ranges->nelts < max; i++) {
        if (kind_of(get(&counters->cells[i].state)) == CELL_IN_USE) {
            announce_one(counters, i, ranges);
        }
    }
}

void mpx_counters_settle(mpx_counters_t *counters, const mpx_counter_range_t *range)
{
    cell_t *cell = &counters->cells[range->cell];
    if (cell->use == range->use && cell->announced == range->upto) {
        put(&cell->settled, range->upto);
    }
}

static void release_one(cell_t *cell, apr_uint64_t state, apr_time_t now, int early, int (*alive)(int pid))
{
    apr_uint64_t generation = generation_of(state), next = (generation + 1) & GENERATION_MASK;

    next = next ? next : 1; /* 0 says "never used" */
    if (kind_of(state) == CELL_WRITING) {
        /* Only the dead are cleared away: who is merely slow still writes into the cell. */
        if (!alive(pid_of(state))) {
            swap(&cell->state, state, state_of(CELL_FREE, next, 0));
        }
    }
    else if (kind_of(state) == CELL_IN_USE && (early || cell->minute + MINUTE < now)) {
        apr_uint64_t settled = get(&cell->settled);
        /* The generation changes in the count word first: from here on no addition can hit this use. */
        if (swap(&cell->count, generation << COUNT_BITS | settled, next << COUNT_BITS)) {
            put(&cell->state, state_of(CELL_FREE, next, 0));
        }
        else if (get(&cell->count) == next << COUNT_BITS) {
            put(&cell->state, state_of(CELL_FREE, next, 0)); /* a flusher died between the two */
        }
    }
}

void mpx_counters_release(mpx_counters_t *counters, apr_time_t now, int (*alive)(int pid))
{
    apr_uint64_t i, taken = 0;

    for (i = 0; i < counters->ncells; i++) {
        taken += kind_of(get(&counters->cells[i].state)) != CELL_FREE;
    }
    for (i = 0; i < counters->ncells; i++) {
        apr_uint64_t state = get(&counters->cells[i].state);
        if (kind_of(state) != CELL_FREE) {
            release_one(&counters->cells[i], state, now, taken > counters->ncells / 2, alive);
        }
    }
}

void mpx_counters_stat(const mpx_counters_t *counters, mpx_counters_stat_t *stat)
{
    apr_uint64_t i;
    memset(stat, 0, sizeof *stat);
    stat->capacity = counters->ncells;
    for (i = 0; i < counters->ncells; i++) {
        const cell_t *cell = &counters->cells[i];
        if (kind_of(get(&cell->state)) == CELL_IN_USE) {
            apr_uint64_t settled = get(&cell->settled); /* first: the count only grows */
            stat->used++;
            stat->pending += (get(&cell->count) & COUNT_MASK) - settled;
        }
    }
}
