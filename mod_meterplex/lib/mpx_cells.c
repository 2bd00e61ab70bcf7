/* mpx_cells.c: see mpx_cells.h. */
#include "mpx_cells.h"

#include <string.h>

#include <sodium.h>

#ifndef CELLS_IN_BUCKET /* a test takes fewer */
#define CELLS_IN_BUCKET 63
#endif
#define INDEX_BITS 6 /* of the control cell's version, for the index of a cell */

typedef unsigned __int128 pair_t;

typedef union cell {
    pair_t pair;
    struct {
        apr_uint64_t print; /* 0: empty */
        apr_uint64_t tat;
    } is;
} cell_t;

/* The control cell: print is the key that is being given a cell (0: nobody); tat is a version, times 64, plus the index of
 * the cell that is taken. The version grows with each taking and is the taker's clock, if that is not behind the last one:
 * by it all helpers judge alike what is free. (58 bits of nanoseconds: nine years since the machine was started.) */
typedef struct bucket {
    cell_t control;
    cell_t cells[CELLS_IN_BUCKET];
} bucket_t;

struct mpx_cells {
    unsigned char secret[MPX_CELLS_SECRET];
    apr_uint64_t n; /* buckets */
    char align[64 - MPX_CELLS_SECRET - sizeof(apr_uint64_t)];
    bucket_t buckets[];
};

mpx_cells_t *mpx_cells_format(void *memory, apr_size_t size, const unsigned char secret[MPX_CELLS_SECRET])
{
    mpx_cells_t *cells = memory;

    if (size < sizeof *cells + sizeof(bucket_t)) {
        return NULL;
    }
    memcpy(cells->secret, secret, MPX_CELLS_SECRET);
    cells->n = (size - sizeof *cells) / sizeof(bucket_t);
    return cells;
}

mpx_cells_t *mpx_cells_attach(void *memory)
{
    return memory;
}

static cell_t load(const cell_t *at)
{
    cell_t c;
    /* Two words, maybe of two moments: whatever is done with them is done by a compare-and-swap of both. The version of a
     * control cell is read first: with the print of a later moment the pair has been there, or never comes. The other way
     * round it could be one that is yet to come, and a search made before it would be taken for one made after it. */
    c.is.tat = __atomic_load_n(&at->is.tat, __ATOMIC_ACQUIRE);
    c.is.print = __atomic_load_n(&at->is.print, __ATOMIC_ACQUIRE);
    return c;
}

static int swap(cell_t *at, cell_t expected, apr_uint64_t print, apr_uint64_t tat)
{
    cell_t fresh;
    fresh.is.print = print;
    fresh.is.tat = tat;
    return __sync_bool_compare_and_swap(&at->pair, expected.pair, fresh.pair);
}

static bucket_t *place(mpx_cells_t *cells, const void *key, apr_size_t len, apr_uint64_t *print)
{
    apr_uint64_t hash[2];
    crypto_shorthash_siphashx24((unsigned char *)hash, key, len, cells->secret);
    *print = hash[1] ? hash[1] : 1;
    return &cells->buckets[(apr_uint64_t)((pair_t)hash[0] * cells->n >> 64)]; /* its share of all hashes: no division */
}

/* Where in its bucket a key's search begins. */
static int begin(apr_uint64_t print)
{
    return (int)((print >> 32) * CELLS_IN_BUCKET >> 32);
}

static int next(int i)
{
    return i + 1 < CELLS_IN_BUCKET ? i + 1 : 0;
}

static cell_t *find(bucket_t *bucket, apr_uint64_t print)
{
    int i = begin(print), n;
    for (n = 0; n < CELLS_IN_BUCKET; n++, i = next(i)) {
        if (__atomic_load_n(&bucket->cells[i].is.print, __ATOMIC_ACQUIRE) == print) {
            return &bucket->cells[i];
        }
    }
    return NULL;
}

/* A caller's clock may be one that was read a while ago; the last taker's is one that has been, too. */
static apr_uint64_t later(apr_uint64_t now, cell_t control)
{
    apr_uint64_t then = control.is.tat >> INDEX_BITS;
    return then > now ? then : now;
}

/* Complete the taking that the control cell announces: ours or another's. All helpers judge by the taker's clock. A helper
 * may have looked at the cell and be asleep: so nobody clears the control cell before the taken cell has changed from
 * what that one holds. Either it is the announced key's; or, its owner having come back, its arrival time goes up by a
 * nanosecond, and stays beyond the taker's clock until the control cell is cleared (mpx_cells_refund() sees to that). A
 * helper that slept then fails, instead of giving a key that has found another cell meanwhile a second one. */
static void complete(bucket_t *bucket, cell_t announced)
{
    cell_t *taken = &bucket->cells[announced.is.tat & ((1 << INDEX_BITS) - 1)];
    apr_uint64_t then = announced.is.tat >> INDEX_BITS;

    for (;;) {
        cell_t old = load(taken);
        /* Both words at one moment, after the cell was looked at: in two loads the version could still be this
         * announcement's and the print the same key's next one's. */
        if (!swap(&bucket->control, announced, announced.is.print, announced.is.tat)) {
            return; /* somebody has */
        }
        if (old.is.print == announced.is.print) {
            break;
        }
        /* Starts as "nothing used": the charge follows as any other does. */
        if (old.is.print == 0 || old.is.tat <= then ? swap(taken, old, announced.is.print, then)
                                                    : swap(taken, old, old.is.print, old.is.tat + 1)) {
            break;
        }
    }
    swap(&bucket->control, announced, 0, announced.is.tat);
}

/* Announce that print takes a cell that is free or says nothing any more.
 * @return 0 when there is none; 1: look again */
static int take(bucket_t *bucket, cell_t idle, apr_uint64_t print, apr_uint64_t now)
{
    apr_uint64_t then = (idle.is.tat >> INDEX_BITS) + 1;
    int i = begin(print), n;

    then = then > now ? then : now;
    if (then >> (64 - INDEX_BITS)) {
        return 0; /* the nine years are over */
    }
    for (n = 0; n < CELLS_IN_BUCKET; n++, i = next(i)) {
        cell_t c = load(&bucket->cells[i]);
        if (c.is.print == 0 || c.is.tat <= then) {
            cell_t announced;
            announced.is.print = print;
            announced.is.tat = then << INDEX_BITS | (apr_uint64_t)i;
            if (swap(&bucket->control, idle, print, announced.is.tat)) {
                complete(bucket, announced);
            }
            return 1;
        }
    }
    return 0;
}

void mpx_cells_look(mpx_cells_t *cells, const void *key, apr_size_t len, const mpx_rate_t *rate, apr_uint64_t now,
                    apr_uint64_t cost, mpx_gcra_t *out)
{
    apr_uint64_t print;
    const bucket_t *bucket = place(cells, key, len, &print);
    cell_t *cell, old = { 0 };

    now = later(now, load(&bucket->control));

    do {
        cell = find((bucket_t *)bucket, print);
        old.is.tat = 0;
        if (cell) {
            old = load(cell);
        }
    } while (cell && (old.is.print != print || load(cell).is.print != print));
    mpx_gcra_decide(rate, old.is.tat, now, cost, out);
}

int mpx_cells_charge(mpx_cells_t *cells, const void *key, apr_size_t len, const mpx_rate_t *rate, apr_uint64_t now,
                     apr_uint64_t cost, mpx_gcra_t *out)
{
    apr_uint64_t print;
    bucket_t *bucket = place(cells, key, len, &print);

    for (;;) {
        /* The control cell is read before the search: a taking that ends in between changes its version, and ours fails. */
        cell_t control = load(&bucket->control), *cell = find(bucket, print), old = { 0 };

        now = later(now, control);
        if (cell) {
            old = load(cell);
        }
        mpx_gcra_decide(rate, old.is.tat, now, cost, out);
        if (cell && old.is.print != print) {
            continue;
        }
        if (!out->allowed || cost == 0) {
            /* Nothing to write. An unused limit needs no cell to refuse what exceeds its burst. */
            if (cell == NULL || load(cell).is.print == print) {
                return 1;
            }
        }
        else if (cell) {
            if (swap(cell, old, print, out->tat)) {
                return 1;
            }
        }
        else if (control.is.print) {
            complete(bucket, control);
        }
        else if (!take(bucket, control, print, now) && load(&bucket->control).pair == control.pair) {
            return 0; /* full, and nobody has taken a cell for this key since it was looked for */
        }
    }
}

void mpx_cells_refund(mpx_cells_t *cells, const void *key, apr_size_t len, const mpx_rate_t *rate, apr_uint64_t cost)
{
    apr_uint64_t print, back = mpx_rate_charge(rate, cost);
    bucket_t *bucket = place(cells, key, len, &print);
    cell_t *cell;

    while ((cell = find(bucket, print)) != NULL) {
        cell_t old = load(cell), control = load(&bucket->control);
        /* While a taking is announced no arrival time goes down: a helper has seen that it is beyond the taker's clock. */
        if (control.is.print) {
            complete(bucket, control);
        }
        else if (old.is.print == print && swap(cell, old, print, old.is.tat > back ? old.is.tat - back : 0)) {
            return;
        }
    }
}

apr_uint64_t mpx_cells_capacity(const mpx_cells_t *cells)
{
    return cells->n * CELLS_IN_BUCKET;
}

apr_uint64_t mpx_cells_used(const mpx_cells_t *cells, apr_uint64_t now)
{
    apr_uint64_t b, used = 0;
    int i;
    for (b = 0; b < cells->n; b++) {
        for (i = 0; i < CELLS_IN_BUCKET; i++) {
            cell_t c = load(&cells->buckets[b].cells[i]);
            used += c.is.print != 0 && c.is.tat > now;
        }
    }
    return used;
}
