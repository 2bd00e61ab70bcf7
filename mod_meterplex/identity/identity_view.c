/* identity_view.c: see identity_view.h. */
#include "identity_view.h"

#include <string.h>

void identity_tenant_write(mpx_jsonw_t *w, apr_pool_t *pool, const identity_tenant_t *t)
{
    char time[MPX_TIME_TEXT];
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "id", mpx_typeid_format(pool, "ten", &t->id));
    mpx_jsonw_member_string(w, "name", t->name);
    mpx_jsonw_member_string(w, "slug", t->slug);
    mpx_jsonw_member_string(w, "status", t->status);
    mpx_jsonw_member_raw(w, "metadata", t->metadata, strlen(t->metadata));
    mpx_jsonw_member_string(w, "created_at", mpx_time_format(t->created_at, time));
    mpx_jsonw_member_string(w, "updated_at", mpx_time_format(t->updated_at, time));
    mpx_jsonw_end(w);
}

void identity_words_write(mpx_jsonw_t *w, const char *name, const char *words)
{
    mpx_jsonw_key(w, name);
    mpx_jsonw_array(w);
    while (*words) {
        apr_size_t len = strcspn(words, " ");
        mpx_jsonw_stringn(w, words, len);
        words += len + (words[len] == ' ');
    }
    mpx_jsonw_end(w);
}

static void write_time(mpx_jsonw_t *w, const char *name, apr_time_t t)
{
    char text[MPX_TIME_TEXT];
    mpx_jsonw_member_string(w, name, t ? mpx_time_format(t, text) : NULL);
}

static void write_rate(mpx_jsonw_t *w, const mpx_rate_t *rate)
{
    mpx_jsonw_key(w, "rate_limit");
    if (rate->count == 0) {
        mpx_jsonw_null(w);
        return;
    }
    mpx_jsonw_object(w);
    mpx_jsonw_member_int(w, "rate", (apr_int64_t)rate->count);
    mpx_jsonw_member_string(w, "per", rate->period == 1 ? "second" : rate->period == 60 ? "minute"
                                : rate->period == 3600                                  ? "hour"
                                                                                        : "day");
    mpx_jsonw_member_int(w, "burst", (apr_int64_t)rate->burst);
    mpx_jsonw_end(w);
}

void identity_key_write(mpx_jsonw_t *w, apr_pool_t *pool, const identity_key_t *k)
{
    mpx_jsonw_object(w);
    mpx_jsonw_member_string(w, "id", mpx_typeid_format(pool, "key", &k->id));
    mpx_jsonw_member_string(w, "tenant_id", mpx_typeid_format(pool, "ten", &k->tenant));
    mpx_jsonw_member_string(w, "name", k->name);
    mpx_jsonw_member_string(w, "env", k->env);
    identity_words_write(w, "scopes", k->scopes);
    mpx_jsonw_member_string(w, "hint", k->hint);
    write_rate(w, &k->rate);
    identity_words_write(w, "allowed_cidrs", k->allowed_cidrs);
    mpx_jsonw_member_raw(w, "metadata", k->metadata, strlen(k->metadata));
    mpx_jsonw_member_string(w, "created_by", k->created_by);
    write_time(w, "expires_at", k->expires_at);
    write_time(w, "last_used_at", k->last_used_at);
    write_time(w, "created_at", k->created_at);
    write_time(w, "updated_at", k->updated_at);
    if (k->secret) {
        mpx_jsonw_member_string(w, "secret", k->secret);
    }
    mpx_jsonw_end(w);
}
