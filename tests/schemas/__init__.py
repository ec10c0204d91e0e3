"""The exported documents, under the tools that adopters run over them."""
