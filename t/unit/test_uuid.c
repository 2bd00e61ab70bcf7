/* mpx_uuid: UUIDv7 and TypeID, with the published vectors of the TypeID specification 0.3. */
#include <string.h>

#include <apr_general.h>

#include "mpx_uuid.h"
#include "tap.h"

static apr_pool_t *pool;

static const struct {
    const char *typeid, *prefix, *uuid;
} valid[] = {
    { "00000000000000000000000000", "", "00000000-0000-0000-0000-000000000000" },
    { "00000000000000000000000001", "", "00000000-0000-0000-0000-000000000001" },
    { "0000000000000000000000000a", "", "00000000-0000-0000-0000-00000000000a" },
    { "0000000000000000000000000g", "", "00000000-0000-0000-0000-000000000010" },
    { "00000000000000000000000010", "", "00000000-0000-0000-0000-000000000020" },
    { "7zzzzzzzzzzzzzzzzzzzzzzzzz", "", "ffffffff-ffff-ffff-ffff-ffffffffffff" },
    { "prefix_0123456789abcdefghjkmnpqrs", "prefix", "0110c853-1d09-52d8-d73e-1194e95b5f19" },
    { "prefix_01h455vb4pex5vsknk084sn02q", "prefix", "01890a5d-ac96-774b-bcce-b302099a8057" },
    { "pre_fix_00000000000000000000000000", "pre_fix", "00000000-0000-0000-0000-000000000000" },
};

static const char *const invalid[] = {
    "PREFIX_00000000000000000000000000", "12345_00000000000000000000000000", "pre.fix_00000000000000000000000000",
    ("pr\xc3\xa9" "fix_00000000000000000000000000"), "  prefix_00000000000000000000000000",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl_00000000000000000000000000",
    "_00000000000000000000000000", "_", "prefix_1234567890123456789012345", "prefix_123456789012345678901234567",
    "prefix_1234567890123456789012345 ", "prefix_0123456789ABCDEFGHJKMNPQRS", "prefix_123456789-123456789-123456",
    "prefix_ooooooiiiiiiuuuuuuulllllll", "prefix_i23456789ol23456789oi23456", "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "_prefix_00000000000000000000000000", "prefix__00000000000000000000000000", "", "prefix_",
};

START_TEST(published_vectors)
{
    char text[MPX_UUID_TEXT];
    mpx_uuid_t id;

    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        ck_assert_msg(mpx_typeid_parse(valid[i].typeid, NULL, &id), "%s", valid[i].typeid);
        ck_assert_str_eq(mpx_uuid_format(&id, text), valid[i].uuid);
        ck_assert_str_eq(mpx_typeid_format(pool, valid[i].prefix, &id), valid[i].typeid);
        ck_assert(mpx_typeid_parse(valid[i].typeid, valid[i].prefix, &id));
        ck_assert(!mpx_typeid_parse(valid[i].typeid, "other", &id));
    }
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        ck_assert_msg(!mpx_typeid_parse(invalid[i], NULL, &id), "%s", invalid[i]);
    }
}
END_TEST

START_TEST(version_7_carries_the_time)
{
    /* RFC 9562 appendix A.6: 2022-02-22T19:22:22Z is 017F22E2-79B0-7... */
    static const unsigned char random[8] = { 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f };
    char text[MPX_UUID_TEXT];
    mpx_uuid_t a, b;

    mpx_uuid_v7(&a, APR_INT64_C(1645557742000000), random);
    ck_assert_str_eq(mpx_uuid_format(&a, text), "017f22e2-79b0-7000-98c4-dc0c0c07398f");
    mpx_uuid_v7(&b, APR_INT64_C(1645557742000001), random);
    ck_assert_int_lt(memcmp(&a, &b, sizeof a), 0);
    mpx_uuid_v7(&a, APR_INT64_C(1645557742000999), random);
    ck_assert_int_lt(memcmp(&b, &a, sizeof a), 0);
    ck_assert(!mpx_uuid_parse("017f22e2-79b0-7000-98c4-dc0c0c07398", &a));
    ck_assert(!mpx_uuid_parse("017f22e2-79b0-7000-98c4-dc0c0c07398g", &a));
    ck_assert(mpx_uuid_parse("017F22E2-79B0-7000-98C4-DC0C0C07398F", &a) && mpx_uuid_parse(text, &b) && mpx_uuid_equal(&a, &b));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uuid");
    TCase *tcase = tcase_create("uuid");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    tcase_add_test(tcase, published_vectors);
    tcase_add_test(tcase, version_7_carries_the_time);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
