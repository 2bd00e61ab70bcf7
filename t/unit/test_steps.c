/* Interleavings of the lock-free tables, written out step by step: what one process has done half is here done by
 * hand, from the sources themselves. */
#include <string.h>
#include <sys/mman.h>

#include <apr_general.h>
#include <sodium.h>

#include "mpx_cache.c"
#undef MAGIC
#define swap cells_swap
#include "mpx_cells.c"

#include "tap.h"

#define NOW APR_UINT64_C(1000000000000)

static void *zeroed(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

#undef swap

/* --- mpx_cache ------------------------------------------------------------------------------------------------------- */

static const unsigned char digest[MPX_CACHE_DIGEST] = "a digest of thirty-two byte size";
static const apr_uint64_t labels[MPX_CACHE_LABELS] = { 7, 8 };

/* The slot that holds the digest. */
static slot_t *slot_of(mpx_cache_t *cache)
{
    place_t p = place_of(digest);
    const table_t *t = &cache->table[0];

    for (int which = 0; which < 2; which++) {
        word_t bucket = bucket_of(t, &p, which);
        for (int way = 0; way < WAYS; way++) {
            if (get(&head_at(cache, t, bucket)->tag[way]) == p.tag && holds_digest(slot_at(cache, t, bucket, way), &p)) {
                return slot_at(cache, t, bucket, way);
            }
        }
    }
    return NULL;
}

static mpx_cache_found_e found(mpx_cache_t *cache)
{
    word_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len;
    int doubtful;

    return mpx_cache_find(cache, digest, 2, value, &len, &doubtful);
}

/* Revoked while a writer slept with its slot half written: the slot went to another value meanwhile, then the writer awakes
 * and writes the rest of the old one. */
START_TEST(a_writer_that_slept_shows_nothing)
{
    size_t size = 4 << 20;
    mpx_cache_t *cache = mpx_cache_format(zeroed(size), size);
    mpx_cache_ticket_t ticket = mpx_cache_ticket(cache);
    place_t p = place_of(digest);
    copy_t mine = { { 7, 8 }, { 0 }, 0, 0 };
    const table_t *t = &cache->table[0];
    choice_t c;
    unsigned char other[MPX_CACHE_DIGEST];
    slot_t before, *slot;
    apr_time_t now = 1000000000;
    word_t word;

    ck_assert(choose(cache, t, &p, now, &c));
    memcpy(mine.digest, p.digest, sizeof mine.digest);
    mine.meta = ticket.generation << 16 | 3;
    word = write_slot(cache, t, &c, &p, &mine, "old", APR_INT64_MAX, now);
    ck_assert(word);
    slot = slot_at(cache, t, c.bucket, c.way);
    before = *slot; /* what it will write when it awakes */
    ck_assert_uint_eq(mpx_cache_drop(cache, 0, 7), 0);
    /* its slot is taken for a dead writer's */
    memcpy(other, digest, sizeof other);
    other[0] ^= 1; /* the same buckets */
    for (int i = 0; i < 2 * WAYS && slot->state >> 32 == word >> 32; i++) {
        const apr_uint64_t others[MPX_CACHE_LABELS] = { 9, 9 };
        other[4] = (unsigned char)i;
        ticket = mpx_cache_ticket(cache);
        ck_assert(mpx_cache_store(cache, &ticket, other, others, "new", 3, APR_INT64_MAX, now + 2 * STALE_MS * 1000));
    }
    ck_assert_msg(slot->state >> 32 != word >> 32, "the slot was not taken over");
    /* it awakes */
    head_at(cache, t, c.bucket)->tag[c.way] = p.tag;
    head_at(cache, t, c.bucket)->label[0][c.way] = 7;
    head_at(cache, t, c.bucket)->label[1][c.way] = 8;
    slot->sum = before.sum;
    slot->meta = before.meta;
    memcpy(slot->digest, before.digest, sizeof before.digest);
    memcpy(slot->value, "old\0\0\0\0\0", 8);
    ck_assert_int_eq(found(cache), MPX_CACHE_MISS);
}
END_TEST

/* The storer has compared the epoch, then the dropper moves it and looks at the slot, then the storer makes it visible. */
START_TEST(a_drop_between_comparing_and_showing_holds)
{
    size_t size = 4 << 20;
    mpx_cache_t *cache = mpx_cache_format(zeroed(size), size);
    mpx_cache_ticket_t ticket = mpx_cache_ticket(cache);
    slot_t *slot;
    word_t provisional;

    ck_assert(mpx_cache_store(cache, &ticket, digest, labels, "v", 1, APR_INT64_MAX, 1));
    ck_assert_int_eq(found(cache), MPX_CACHE_HIT);
    slot = slot_of(cache);
    provisional = with_state(slot->state, STATE_PROVISIONAL);
    /* the dropper's swap of what it had seen fails: it must say so, and its caller look again */
    ck_assert_int_eq(empty(slot, provisional), 0);
    ck_assert_uint_eq(mpx_cache_drop(cache, 0, 7), 1);
    ck_assert_int_eq(found(cache), MPX_CACHE_MISS);
}
END_TEST

/* --- mpx_cells ------------------------------------------------------------------------------------------------------- */

static const unsigned char secret[MPX_CELLS_SECRET] = "a secret of test";

static bucket_t *one_bucket(void)
{
    mpx_cells_t *cells = mpx_cells_format(zeroed(4096), 1200, secret);
    return &cells->buckets[0];
}

static cell_t announce(bucket_t *bucket, apr_uint64_t print, apr_uint64_t then, int at)
{
    cell_t announced;

    announced.is.print = print;
    announced.is.tat = then << INDEX_BITS | (apr_uint64_t)at;
    bucket->control = announced;
    return announced;
}

static int owned(const bucket_t *bucket, apr_uint64_t print)
{
    int n = 0;
    for (int i = 0; i < CELLS_IN_BUCKET; i++) {
        n += load(&bucket->cells[i]).is.print == print;
    }
    return n;
}

/* Cell 0 is announced for a key; a helper has looked at it and sleeps; its owner comes back; another helper gives up on it
 * and the key takes another; the first awakes. Whether it slept before its look or after it. */
START_TEST(a_helper_that_slept_gives_no_second_cell)
{
    for (int looked = 0; looked < 2; looked++) {
        bucket_t *bucket = one_bucket();
        cell_t announced = announce(bucket, 42, NOW, 0), seen; /* 42's search begins with cell 0 */

        bucket->cells[0].is.print = 1;
        bucket->cells[0].is.tat = NOW;
        seen = load(&bucket->cells[0]);    /* free by the taker's clock */
        bucket->cells[0].is.tat = NOW + 5; /* its owner is charged */
        if (looked) {                      /* another helper has been there, and has not cleared the control cell yet */
            ck_assert(cells_swap(&bucket->cells[0], load(&bucket->cells[0]), 1, NOW + 6));
            seen = load(&bucket->cells[0]);
        }
        complete(bucket, announced);
        ck_assert(load(&bucket->control).is.print == 0);
        ck_assert(load(&bucket->cells[0]).is.print == 1);
        ck_assert(take(bucket, load(&bucket->control), 42, NOW - 1)); /* an older clock; finds cell 1, which is empty */
        ck_assert(load(&bucket->cells[1]).is.print == 42);
        /* what it does when it awakes: all judge by the taker's clock, and what was free is not as it was */
        ck_assert(looked ? seen.is.tat > announced.is.tat >> INDEX_BITS : !cells_swap(&bucket->cells[0], seen, 42, NOW));
        complete(bucket, announced);
        ck_assert_int_eq(owned(bucket, 42), 1);
    }
}
END_TEST

/* A refund comes between a helper that has found the cell's owner back and one that has yet to look. */
START_TEST(a_refund_waits_for_the_announced_taking)
{
    mpx_cells_t *cells = mpx_cells_format(zeroed(4096), 1200, secret);
    mpx_rate_t rate = { 1, 1, 1 };
    bucket_t *bucket;
    apr_uint64_t print;
    mpx_gcra_t g;
    cell_t *cell;

    ck_assert(mpx_cells_charge(cells, "owner", 5, &rate, NOW, 1, &g) && g.allowed);
    bucket = place(cells, "owner", 5, &print);
    cell = find(bucket, print);
    announce(bucket, 42, NOW + 5, (int)(cell - bucket->cells));
    ck_assert(cells_swap(cell, load(cell), print, load(cell).is.tat + 1)); /* the first helper: found it back */
    mpx_cells_refund(cells, "owner", 5, &rate, 1);
    ck_assert(load(&bucket->control).is.print == 0);
    ck_assert(load(cell).is.print == print);
    ck_assert_int_eq(owned(bucket, 42), 0);
}
END_TEST

/* A pair that is read in two steps is one that has been there: the version is not a later one's than the print's. */
START_TEST(an_announcement_between_two_loads_is_noticed)
{
    bucket_t *bucket = one_bucket();
    cell_t idle = load(&bucket->control), torn;

    /* what load() has when an announcement comes between its two words, and it is completed */
    torn.is.tat = idle.is.tat;
    complete(bucket, announce(bucket, 42, NOW, 0));
    torn.is.print = load(&bucket->control).is.print;
    ck_assert(torn.is.print == 0);
    ck_assert(take(bucket, torn, 42, NOW + 1)); /* 1: look again; nothing is announced by it */
    ck_assert_int_eq(owned(bucket, 42), 1);
    ck_assert(load(&bucket->control).is.tat >> INDEX_BITS == NOW);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("steps");
    TCase *tcase = tcase_create("steps");

    apr_initialize();
    if (sodium_init() < 0) {
        return 1;
    }
    tcase_add_test(tcase, a_writer_that_slept_shows_nothing);
    tcase_add_test(tcase, a_drop_between_comparing_and_showing_holds);
    tcase_add_test(tcase, a_helper_that_slept_gives_no_second_cell);
    tcase_add_test(tcase, a_refund_waits_for_the_announced_taking);
    tcase_add_test(tcase, an_announcement_between_two_loads_is_noticed);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
