"""The Helm chart, rendered by the real helm and read by the program itself."""
