/*
 * A disk that hangs: preloaded into a VM (LD_PRELOAD), this makes every write to a
 * store's files wait for as long as the file named by BENCH_STALL_FLAG exists.
 * Reads go on, as from the page cache. Other files are not touched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int of_a_store(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, "/shape-db/") != NULL;
}

static void wait_while_stalled(int fd) {
  const char *flag = getenv("BENCH_STALL_FLAG");
  if (flag == NULL || access(flag, F_OK) != 0 || !of_a_store(fd)) return;
  while (access(flag, F_OK) == 0) usleep(1000);
}

#define STALLING(result, name, parameters, ...)                            \
  result name parameters {                                                 \
    static result(*real) parameters;                                       \
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, #name);           \
    wait_while_stalled(fd);                                                \
    return real(__VA_ARGS__);                                              \
  }

STALLING(ssize_t, write, (int fd, const void *bytes, size_t count), fd, bytes, count)
STALLING(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t at), fd, bytes, count, at)
STALLING(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off64_t at), fd, bytes, count, at)
STALLING(int, ftruncate, (int fd, off_t length), fd, length)
STALLING(int, ftruncate64, (int fd, off64_t length), fd, length)
STALLING(int, fsync, (int fd), fd)
STALLING(int, fdatasync, (int fd), fd)
