#pragma once
// The qualifier of functions that run on host and device. It changes a qualifier, never a body: two bodies behind
// one name would silently link to whichever came first.

#if defined(__CUDACC__)
#define MOEGRAD_HD __host__ __device__
#else
#define MOEGRAD_HD
#endif
