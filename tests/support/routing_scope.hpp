#pragma once
#include <moegrad/testing/router_scope.hpp>  // lives where outside projects find it too
