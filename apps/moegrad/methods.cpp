// Every method by its name, for all verbs.

#include <moegrad/methods/all.hpp>
