// Fills the archive that stands between moegrad and the program.
int between() {
    return 1;
}
