/* ctl_migrations.c: the files of migrations/ and what a database says of them. */
#include "ctl.h"

#include <stdlib.h>
#include <string.h>

#include <apr_file_io.h>
#include <apr_strings.h>
#include <sodium.h>

#include "ctl_sql.h"

#define FILE_MAX (16 * 1024 * 1024) /* bytes */

const char *ctl_migrations_dir(void)
{
    return METERPLEX_DATADIR "/migrations";
}

/* NNNN_name.sql, name of a-z, 0-9 and '_'. @return the name, or NULL */
static const char *name_of(apr_pool_t *pool, const char *file, int *version)
{
    apr_size_t len = strlen(file), i;

    if (len < sizeof "0000_x.sql" - 1 || strspn(file, "0123456789") != 4 || file[4] != '_') {
        return NULL;
    }
    for (i = 5; i < len - 4; i++) {
        if (!((file[i] >= 'a' && file[i] <= 'z') || (file[i] >= '0' && file[i] <= '9') || file[i] == '_')) {
            return NULL;
        }
    }
    *version = (int)strtol(file, NULL, 10);
    return *version ? apr_pstrmemdup(pool, file + 5, len - 9) : NULL;
}

static const char *read_text(apr_pool_t *pool, const char *dir, ctl_migration_t *m)
{
    unsigned char digest[32];
    const char *path = apr_pstrcat(pool, dir, "/", m->file, NULL);
    apr_file_t *file;
    apr_finfo_t info;
    apr_size_t len;
    char *text, reason[120];
    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_FPROT_OS_DEFAULT, pool);

    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(&info, APR_FINFO_SIZE, file);
    }
    if (rv == APR_SUCCESS && info.size > FILE_MAX) {
        return apr_psprintf(pool, "%s is larger than a migration may be", path);
    }
    if (rv == APR_SUCCESS) {
        text = apr_palloc(pool, (apr_size_t)info.size + 1);
        rv = apr_file_read_full(file, text, (apr_size_t)info.size, &len);
    }
    if (rv != APR_SUCCESS) {
        return apr_psprintf(pool, "%s cannot be read: %s", path, apr_strerror(rv, reason, sizeof reason));
    }
    apr_file_close(file);
    text[len] = '\0';
    if (memchr(text, '\0', len)) {
        return apr_psprintf(pool, "%s holds a NUL and is no SQL text", path);
    }
    m->sql = text;
    crypto_generichash(digest, sizeof digest, (const unsigned char *)text, len, NULL, 0);
    sodium_bin2hex(m->checksum, sizeof m->checksum, digest, sizeof digest);
    return NULL;
}

static int by_version(const void *a, const void *b)
{
    const ctl_migration_t *x = a, *y = b;
    return x->version != y->version ? (x->version < y->version ? -1 : 1) : strcmp(x->file, y->file);
}

static const char *list_files(apr_pool_t *pool, const char *dir, apr_array_header_t *files)
{
    apr_dir_t *handle;
    apr_finfo_t info;
    char reason[120];
    const char *wrong = NULL;
    apr_status_t rv = apr_dir_open(&handle, dir, pool);

    if (rv != APR_SUCCESS) {
        return apr_psprintf(pool, "%s cannot be read: %s; name the directory of the migrations with --dir", dir,
                            apr_strerror(rv, reason, sizeof reason));
    }
    while (wrong == NULL && apr_dir_read(&info, APR_FINFO_NAME, handle) == APR_SUCCESS) {
        apr_size_t len = strlen(info.name);
        if (len >= 4 && strcmp(info.name + len - 4, ".sql") == 0 && info.name[0] != '.') {
            ctl_migration_t *m = apr_array_push(files);
            m->file = apr_pstrdup(pool, info.name);
            m->name = name_of(pool, m->file, &m->version);
            if (m->name == NULL) {
                wrong = apr_psprintf(pool, "%s/%s is not named as a migration is: NNNN_name.sql, the name of a-z, 0-9 and _",
                                     dir, m->file);
            }
        }
    }
    apr_dir_close(handle);
    return wrong ? wrong : files->nelts ? NULL
                                        : apr_psprintf(pool, "there is no migration (NNNN_name.sql) in %s", dir);
}

const char *ctl_migrations_read(apr_pool_t *pool, const char *dir, apr_array_header_t **files)
{
    const char *wrong;
    int i;

    *files = apr_array_make(pool, 16, sizeof(ctl_migration_t));
    wrong = list_files(pool, dir, *files);
    if (wrong) {
        return wrong;
    }
    qsort((*files)->elts, (apr_size_t)(*files)->nelts, sizeof(ctl_migration_t), by_version);
    for (i = 0; i < (*files)->nelts; i++) {
        ctl_migration_t *m = &APR_ARRAY_IDX(*files, i, ctl_migration_t);
        if (i && m[-1].version == m->version) {
            return apr_psprintf(pool, "%s/%s and %s have the same number; give one of them a new one", dir, m[-1].file,
                                m->file);
        }
        if ((wrong = read_text(pool, dir, m)) != NULL) {
            return wrong;
        }
    }
    return NULL;
}

static apr_status_t read_applied(mpx_tx_t *tx, void *baton)
{
    apr_array_header_t *applied = baton;
    mpx_rows_t *rows;
    int i;
    apr_status_t rv = mpx_tx_query(tx, SQL_migrations_table, NULL, 0, &rows);

    apr_array_clear(applied);
    if (rv != APR_SUCCESS || !mpx_rows_bool(rows, 0, 0)) {
        return rv;
    }
    rv = mpx_tx_query(tx, SQL_migrations_applied, NULL, 0, &rows);
    for (i = 0; rv == APR_SUCCESS && i < mpx_rows_count(rows); i++) {
        ctl_applied_t *a = apr_array_push(applied);
        a->version = (int)mpx_rows_int(rows, i, 0);
        a->name = mpx_rows_text(rows, i, 1);
        a->checksum = mpx_rows_text(rows, i, 2);
        a->applied_at = mpx_rows_text(rows, i, 3);
    }
    return rv;
}

apr_status_t ctl_migrations_applied(mpx_call_t *call, apr_array_header_t **applied)
{
    *applied = apr_array_make(call->pool, 16, sizeof(ctl_applied_t));
    return mpx_tx_run(call, MPX_TX_READ, read_applied, *applied);
}

const char *ctl_migrations_conflict(apr_pool_t *pool, const apr_array_header_t *files, const apr_array_header_t *applied)
{
    int f = 0, a;

    for (a = 0; a < applied->nelts; a++, f++) {
        const ctl_applied_t *ran = &APR_ARRAY_IDX(applied, a, ctl_applied_t);
        const ctl_migration_t *m = f < files->nelts ? &APR_ARRAY_IDX(files, f, ctl_migration_t) : NULL;

        if (m == NULL || m->version > ran->version) {
            return apr_psprintf(
                pool,
                "%04d_%s.sql ran on this database and is not there any more: the database belongs to a newer "
                "Meterplex, or the file was removed; install that version or put the file back",
                ran->version, ran->name);
        }
        if (m->version < ran->version) {
            return apr_psprintf(pool,
                                "%s comes before %04d_%s.sql, which has run already; a new migration takes a number after "
                                "the last",
                                m->file, ran->version, ran->name);
        }
        if (strcmp(m->name, ran->name) != 0 || strcmp(m->checksum, ran->checksum) != 0) {
            return apr_psprintf(pool,
                                "%s is not what ran on this database as %04d_%s.sql at %s: what ran is never changed; put "
                                "the file back as it was and write the change as a new migration",
                                m->file, ran->version, ran->name, ran->applied_at);
        }
    }
    return NULL;
}
