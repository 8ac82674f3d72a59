/* A host under a process: which writes would survive a loss of power, and what the clock says.
 *
 * Loaded before the C library (LD_PRELOAD). With HOST_DURABLE, a directory: what fsync and fdatasync make durable is
 * copied there, a file's content as f<inode> and a directory's names as d<inode>, and nothing is really synced. With
 * HOST_CLOCK, a file of eight bytes: so many seconds are added to the time of day, and may change at any moment. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static int keep_file(int from, const char *place) {
    char path[64], piece[65536];
    snprintf(path, sizeof path, "/proc/self/fd/%d", from);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    int out = open(place, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in < 0 || out < 0)
        return -1;
    ssize_t length;
    while ((length = read(in, piece, sizeof piece)) > 0)
        if (write(out, piece, length) != length)
            return -1;
    close(in);
    close(out);
    return length < 0 ? -1 : 0;
}

static int keep_names(int from, const char *place) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", from);
    DIR *names = opendir(path);
    FILE *out = fopen(place, "we");
    if (!names || !out)
        return -1;
    struct dirent *entry;
    while ((entry = readdir(names)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            fprintf(out, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
    closedir(names);
    return fclose(out);
}

static int keep(int fd) {
    const char *durable = getenv("HOST_DURABLE");
    struct stat found;
    char place[4096], written[4096 + 16];
    if (fstat(fd, &found))
        return -1;
    int directory = S_ISDIR(found.st_mode);
    snprintf(place, sizeof place, "%s/%c%llu", durable, directory ? 'd' : 'f', (unsigned long long)found.st_ino);
    snprintf(written, sizeof written, "%s.written", place);
    pthread_mutex_lock(&one_at_a_time);
    /* As a whole or not at all: the process may die in the middle of it. */
    int failed = (directory ? keep_names(fd, written) : keep_file(fd, written)) || rename(written, place);
    pthread_mutex_unlock(&one_at_a_time);
    if (failed)
        errno = EIO;
    return failed ? -1 : 0;
}

static int sync_by(const char *name, int fd) {
    if (getenv("HOST_DURABLE"))
        return keep(fd);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return sync_by("fsync", fd); }

int fdatasync(int fd) { return sync_by("fdatasync", fd); }

static volatile int64_t *clock_offset;

__attribute__((constructor)) static void find_clock(void) {
    const char *place = getenv("HOST_CLOCK");
    int fd = place ? open(place, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0)
        clock_offset = mmap(NULL, sizeof *clock_offset, PROT_READ, MAP_SHARED, fd, 0);
    if (clock_offset == MAP_FAILED)
        abort();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME && clock_offset)
        now->tv_sec += *clock_offset;
    return result;
}
