#pragma once
#include <moegrad/testing/router_cases.hpp>  // lives where outside projects find it too
