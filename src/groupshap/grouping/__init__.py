"""Images and who contributed them: sources, checks, splits, planted defects and the contact sheet.

``config.DataGroupingConfig`` chooses a source, ``sources.SOURCES[config.source](config, cache)`` reads it, and
``assemble.group_images(source_data, config)`` turns it into players. Importing this package imports nothing heavy.
"""
