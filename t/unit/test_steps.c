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

/* Cell i, whose time is over for one helper and not for another with an older clock. The first has looked and sleeps;
 * the other gives up on the cell and the key takes another; the first awakes. */
START_TEST(helpers_of_two_minds_give_one_cell)
{
    mpx_cells_t *cells = mpx_cells_format(zeroed(4096), 1200, secret);
    bucket_t *bucket = &cells->buckets[0];
    cell_t announced, seen;
    int owned = 0;

    bucket->cells[0].is.print = 1;
    bucket->cells[0].is.tat = NOW;
    announced.is.print = 42; /* whose search begins with cell 0 */
    announced.is.tat = 1 << INDEX_BITS | 0;
    bucket->control = announced;
    seen = load(&bucket->cells[0]); /* the helper whose now is NOW: it would take the cell, and sleeps */
    complete(bucket, announced, NOW - 1);
    ck_assert(load(&bucket->control).is.print == 0);
    ck_assert(load(&bucket->cells[0]).is.print == 1);
    ck_assert(take(bucket, load(&bucket->control), 42, NOW - 1)); /* finds cell 1, which is empty */
    ck_assert(load(&bucket->cells[1]).is.print == 42);
    ck_assert(!cells_swap(&bucket->cells[0], seen, 42, NOW));
    complete(bucket, announced, NOW); /* all of what it does when it awakes */
    for (int i = 0; i < CELLS_IN_BUCKET; i++) {
        owned += load(&bucket->cells[i]).is.print == 42;
    }
    ck_assert_int_eq(owned, 1);
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
    tcase_add_test(tcase, helpers_of_two_minds_give_one_cell);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
